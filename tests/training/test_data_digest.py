"""An interrupted run goes on with the data that it started on, or says what has changed."""

import json

import numpy as np
import pytest
from synthetic_data import make_recipe

from fcnjax.data import ArraySource, as_source, save_npz
from fcnjax.sealed import read_sealed
from fcnjax.training import Trainer, train
from fcnjax.training.data_digest import changed_data, data_digest

SPLITS = ("train", "validation", "test")


class Interrupted(Trainer):
    """Stops before the first step."""

    def fit(self, state, seed):
        raise KeyboardInterrupt


def examples():
    rng = np.random.default_rng(0)
    return [rng.integers(0, 256, (8 + index % 3, 9, 1), np.uint8) for index in range(12)], [0, 1] * 6


@pytest.fixture
def save(tmp_path):
    """Writes one split, or all, to the .npz file of the run; None leaves arrays or labels as they are."""

    def save(*names, arrays=None, labels=None):
        for name in names or SPLITS:
            save_npz(tmp_path / "data.npz", arrays or examples()[0], labels or examples()[1], ["a", "b"], name)

    save()
    return save


@pytest.fixture
def recipe(tmp_path):
    return make_recipe(epochs=1, data={"name": str(tmp_path / "data.npz")})


@pytest.fixture
def run(save, recipe, tmp_path):
    """The folder of an interrupted run."""
    folder = tmp_path / "run"
    with pytest.raises(KeyboardInterrupt):
        train(recipe, folder, trainer=Interrupted(recipe), progress=False)
    return folder


def test_the_folder_says_what_was_hashed(run):
    kept = read_sealed(run / "data.json")
    assert kept.pop("classes") == ["a", "b"]
    assert list(kept) == list(SPLITS)
    for entry in kept.values():
        assert entry["covers"] == "all labels and values"
        assert len(entry["examples"]) == len(entry["contents"]) == 64
    assert len({entry["contents"] for entry in kept.values()}) == 1  # the same examples, with other ids
    assert len({entry["examples"] for entry in kept.values()}) == 3


@pytest.mark.parametrize("split", SPLITS)
def test_swapped_labels_and_changed_pixels_are_refused(run, save, recipe, split):
    arrays, labels = examples()
    labels[2:4] = labels[3], labels[2]
    pixel = [array.copy() for array in arrays]
    pixel[11][7, 8, 0] ^= 1
    for changed in ({"labels": labels}, {"arrays": pixel}):
        save()
        save(split, **changed)
        says = rf"the labels or values of its {split} split \(compared: all labels and values\) have changed since"
        with pytest.raises(FileExistsError, match=says):
            train(recipe, run, progress=False)
    save()
    assert train(recipe, run, progress=False).test.count == 12


def test_a_run_of_an_earlier_version_goes_on_and_says_what_was_not_compared(run, save, recipe, capfd):
    now = read_sealed(run / "data.json")
    (run / "data.json").write_text(json.dumps({name: now[name]["examples"] for name in SPLITS}))
    with pytest.raises(KeyboardInterrupt):
        train(recipe, run, trainer=Interrupted(recipe), progress=False)
    told = capfd.readouterr().err
    assert "data.json: labels and values of train, validation, test hold no hash" in told
    assert read_sealed(run / "data.json") == now  # from now on they are compared
    with pytest.raises(KeyboardInterrupt):
        train(recipe, run, trainer=Interrupted(recipe), progress=False)
    assert "hold no hash" not in capfd.readouterr().err
    for damaged in ({}, dict.fromkeys(now), dict.fromkeys(now, "0"), {name: [1] for name in now}):
        (run / "data.json").write_text(json.dumps(damaged))
        with pytest.raises(FileExistsError, match="the examples of its train split have changed"):
            train(recipe, run, progress=False)


def test_names_that_are_not_utf8_are_hashed():
    source = as_source([(array, label) for array, label in zip(*examples(), strict=True)])
    source.names = [f"{index}\udc80.png" for index in range(12)]
    first = data_digest({"train": source})
    source.names = [f"{index}\udc81.png" for index in range(12)]
    assert data_digest({"train": source})["train"]["examples"] != first["train"]["examples"]


def test_changed_weights_are_other_data_and_none_leave_the_digest_as_it_was():
    values, labels = examples()
    plain, light, heavy = (
        ArraySource(values, labels, weights=None if weight is None else [weight] * 12) for weight in (None, 1, 2)
    )
    digest = data_digest({"train": plain})
    assert set(digest["train"]) == {"examples", "contents", "covers"}
    assert changed_data(digest, data_digest({"train": light})) == "weights of the examples of its train split"
    assert changed_data(data_digest({"train": light}), data_digest({"train": heavy})) is not None
    assert changed_data(data_digest({"train": heavy}), data_digest({"train": heavy})) is None
