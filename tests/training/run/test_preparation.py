"""What is refused before a run, by every road into training, and what is not: a trainer made by hand."""

import dataclasses

import numpy as np
import pytest
from synthetic_data import make_recipe, make_sources

from fcnjax.data import ArraySource, save_npz
from fcnjax.training import Trainer, prepared_run, train


@pytest.fixture
def recipe(tmp_path):
    """A recipe whose file has a class without training examples, and an example of training in its test split."""
    values = np.random.default_rng(0).integers(0, 256, (12, 8, 8, 1)).astype(np.uint8)
    path = tmp_path / "three.npz"
    for split, rows, labels in (("train", range(8), [0, 1] * 4), ("test", [7, 8, 9, 10], [1, 1, 0, 2])):
        save_npz(path, list(values[list(rows)]), labels, ["cat", "dog", "Dog"], split)
    data = {"name": str(path), "validation_split": "test"}
    return make_recipe(data=data)


def with_data(recipe, **fields):
    return dataclasses.replace(recipe, data=dataclasses.replace(recipe.data, **fields))


def test_absent_classes_and_leaks_end_a_run_that_names_its_data(recipe, tmp_path, capsys):
    run = tmp_path / "runs" / "run"
    with pytest.raises(ValueError, match=r"1 of 3 has none: 'Dog' \(1 in validation, 1 in test; train has 'dog'"):
        train(recipe, run)
    with pytest.raises(ValueError, match=r"config.data.leakage=refuse: .* 4 of 4 examples of test are also in valid"):
        prepared_run(with_data(recipe, absent_classes="allow", leakage="refuse"), run)
    assert "warning  1 class has no training example: 'Dog'" in capsys.readouterr().out  # first what there is
    with pytest.raises(ValueError, match="1 of 3 has none"):
        train(recipe, run, progress=False)
    assert not run.exists()
    assert capsys.readouterr().out == ""


def test_what_is_allowed_is_warned_of(recipe, tmp_path):
    prepared = prepared_run(with_data(recipe, absent_classes="allow"), tmp_path / "run")
    told = " ".join(prepared.overview.split())
    assert told.startswith(f"{recipe.data.name}: 8 train, 4 validation, 4 test examples in 3 classes class")
    assert "1 class has no training example: 'Dog'" in told
    assert "1 of 4 examples of test is also in train, such as example " in told
    assert len(prepared.trainer.sources["train"]) == 8


def test_a_trainer_made_by_hand_does_not_look(recipe):
    assert len(Trainer(recipe).sources["train"]) == 8
    sources = make_sources()
    sources["train"] = ArraySource([np.ones((9, 9, 1), np.uint8)] * 4, [0, 1] * 2, sources["test"].class_names)
    Trainer(make_recipe(), sources)


def test_given_sources_are_looked_at_as_well(tmp_path):
    sources = make_sources()
    overview = prepared_run(make_recipe(), tmp_path / "run", sources).overview
    assert overview.startswith("synthetic: 21 train, 9 validation, 11 test examples in 3 classes\n")
