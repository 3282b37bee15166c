"""The data of a run that was trained: renamed, reordered, changed, moved, or gone, and read from another folder."""

import dataclasses
import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from synthetic_data import make_recipe

import fcnjax
from fcnjax.commands.main import main
from fcnjax.data import load_npz, save_npz
from fcnjax.sealed import read_sealed, write_sealed
from fcnjax.training import TrainedRun, evaluate, load_run, prepared_run, train
from fcnjax.training.run import loop
from fcnjax.training.run.run_data import holds_split, located
from fcnjax.training.run.run_folder import read_config, read_environments
from fcnjax.training.run.start import continued_recipe
from fcnjax.training.settings.recipe import Recipe

CLASSES = ("cat", "dog", "owl")
FIELDS = {"epochs": 1, "max_buckets": 1, "model": {"channels": [4]}, "checkpoint_every": 1}


def write_photos(root: Path) -> None:
    rng = np.random.default_rng(0)
    for split, count in (("train", 4), ("validation", 1), ("test", 2)):
        for label, name in enumerate(CLASSES):
            (root / split / name).mkdir(parents=True)
            for number in range(count):
                values = rng.integers(70 * label, 70 * label + 90, (9, 8 + number), np.uint8)
                Image.fromarray(values).save(root / split / name / f"{number}.png")


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    """The folder in which a run was trained on `photos`, by relative paths."""
    return tmp_path_factory.mktemp("home")


@pytest.fixture(scope="module")
def trained(home) -> TrainedRun:
    write_photos(home / "photos")
    recipe = make_recipe(**FIELDS, data={"name": "image_folder", "data_dir": "photos"})
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(home)
        return train(recipe, home / "runs" / "run", progress=False)


@pytest.fixture
def run(trained, home, tmp_path, monkeypatch):
    """A copy of the run, which began in `tmp_path`, and of its data, and another present folder."""
    shutil.copytree(home / "photos", tmp_path / "photos")
    path = shutil.copytree(home / "runs" / "run", tmp_path / "run")
    begun = [{**each, "folder": str(tmp_path)} for each in read_environments(path)]
    (path / "environment.json").write_text(json.dumps(begun))
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    return path


def test_unchanged_data_are_found_from_another_folder_and_nothing_is_said(run, trained, capsys):
    np.testing.assert_array_equal(evaluate(run).logits, trained.test.logits)
    assert capsys.readouterr().err == ""


def test_a_renamed_class_is_refused_with_its_twin_or_left_out(run, tmp_path):
    (tmp_path / "photos/test/dog").rename(tmp_path / "photos/test/dogs")
    says = r"the test split of .*run is not what it was: unknown class 'dogs': did you mean 'dog'.*2 of 6 examples out"
    with pytest.raises(ValueError, match=says):
        evaluate(run)
    assert fcnjax.evaluate(run, "test", unknown_classes="skip").count == 4
    assert evaluate(run, "validation").count == 3  # its classes are those of the run


def test_new_classes_and_missing_ones_keep_the_labels_of_the_run(run, tmp_path, trained, capsys):
    (tmp_path / "photos/train/ant").mkdir()
    shutil.copy(tmp_path / "photos/train/cat/0.png", tmp_path / "photos/train/ant")
    result = evaluate(run)
    np.testing.assert_array_equal(result.labels, trained.test.labels)
    np.testing.assert_allclose(result.logits, trained.test.logits, atol=1e-6)
    capsys.readouterr()
    shutil.rmtree(tmp_path / "photos/train/ant")
    for split in ("train", "validation", "test"):
        shutil.rmtree(tmp_path / "photos" / split / "cat")
    result = evaluate(run)
    np.testing.assert_array_equal(result.labels, [1, 1, 2, 2])
    np.testing.assert_allclose(result.logits, trained.test.logits[2:], atol=1e-6)
    said = capsys.readouterr().err
    assert (
        said
        == f"{run}: the examples of its test split are not those of training (6 then, 4 now); those of now count.\n"
    )


def test_a_changed_file_is_said(run, tmp_path, capsys):
    file = tmp_path / "photos/test/cat/0.png"
    Image.fromarray(255 - np.asarray(Image.open(file))).save(file)
    evaluate(run)
    assert "the labels or values of its test split (compared: " in capsys.readouterr().err


def test_only_the_split_that_is_evaluated_must_be_readable(run, tmp_path, trained):
    """Training examples damaged, of other classes, in color, absent."""
    train, damaged = tmp_path / "photos/train", b"not an image"
    (train / "cat/0.png").write_bytes(damaged)
    np.testing.assert_array_equal(evaluate(run).logits, trained.test.logits)
    with pytest.raises(ValueError, match="1 of 12 files of split 'train' cannot be read"):
        load_run(run, split="test", with_train=True)
    for name in CLASSES:
        (train / name).rename(train / name.title())
    Image.new("RGB", (9, 9)).save(train / "Owl/0.png")
    np.testing.assert_allclose(evaluate(run).logits, trained.test.logits, atol=1e-6)
    with pytest.raises(ValueError, match="the train split of .* is not what it was"):
        load_run(run, split="test", on_error="mask", with_train=True)
    shutil.rmtree(train)
    np.testing.assert_allclose(evaluate(run).logits, trained.test.logits, atol=1e-6)
    (tmp_path / "photos/test/cat/0.png").write_bytes(damaged)
    with pytest.raises(ValueError, match="1 of 6 files of split 'test' cannot be read"):
        evaluate(run)


def test_data_that_moved_are_evaluated_where_they_are(run, tmp_path, trained, capsys):
    place = (tmp_path / "photos").rename(tmp_path / "elsewhere")
    says = rf"its data were photos, and there is no {tmp_path}/photos, nor {tmp_path}/here/photos; move them back"
    with pytest.raises(FileNotFoundError, match=says):
        evaluate(run)
    result = fcnjax.evaluate(run, place, "last", split="test")
    np.testing.assert_array_equal(result.logits, trained.test.logits)
    (place / "test/owl").rename(place / "test/owls")
    flags = [f"--workdir={run}", f"--data={place}", "--split=test", "--unknown_classes=skip", "--sizes=0.9"]
    assert main(["fcnjax", "evaluate", *flags]) == 0
    out, error = capsys.readouterr()
    assert out.startswith(f"{place} (test) accuracy ")
    assert out.splitlines()[1] == "2 examples skipped, of classes that the model lacks: owls (2)"
    assert "the examples of its test split are not those of training (6 then, 4 now)" in error


def test_a_model_needs_no_data(run, tmp_path):
    shutil.rmtree(tmp_path / "photos")
    assert fcnjax.load(run)(np.zeros((9, 9, 1), np.uint8)).class_name in CLASSES


def test_an_older_run_without_folder_and_classes_is_read_in_the_present_folder(run, tmp_path, trained, monkeypatch):
    older = [{name: value for name, value in each.items() if name != "folder"} for each in read_environments(run)]
    (run / "environment.json").write_text(json.dumps(older))
    known = read_sealed(run / "data.json")
    known.pop("classes")
    write_sealed(run / "data.json", known)
    with pytest.raises(FileNotFoundError, match=f"there is no {tmp_path}/here/photos; move"):
        load_run(run)
    monkeypatch.chdir(tmp_path)
    np.testing.assert_array_equal(evaluate(run).logits, trained.test.logits)
    (tmp_path / "photos/test/dog").rename(tmp_path / "photos/test/dogs")
    with pytest.raises(ValueError, match="unknown class 'dogs'"):  # the model knows its classes
        evaluate(run)


def test_an_interrupted_run_goes_on_from_another_folder(home, trained, tmp_path, monkeypatch):
    """By a config, and by data alone."""
    shutil.copytree(home / "photos", tmp_path / "photos")
    (tmp_path / "here").mkdir()
    recipe = make_recipe(**FIELDS, data={"name": "image_folder", "data_dir": "photos"})

    def stopping(*arguments):
        raise KeyboardInterrupt

    monkeypatch.chdir(tmp_path)
    with monkeypatch.context() as patch:
        patch.setattr(loop, "write_model", stopping)
        with pytest.raises(KeyboardInterrupt):
            train(recipe, tmp_path / "run", progress=False)
    shutil.copytree(tmp_path / "run", tmp_path / "copy")
    monkeypatch.chdir(tmp_path / "here")
    for run in (train(recipe, tmp_path / "run", progress=False), fcnjax.train("photos", tmp_path / "copy")):
        np.testing.assert_array_equal(run.test.logits, trained.test.logits)
        assert [each["folder"] for each in read_environments(run.folder.path)] == [
            str(tmp_path),
            str(tmp_path / "here"),
        ]
    assert Recipe.from_config(read_config(tmp_path / "run")) == recipe


def test_a_run_that_goes_on_elsewhere_finds_the_data_and_the_weights(run, tmp_path, monkeypatch):
    assert continued_recipe(run).data.data_dir == str(tmp_path / "photos")
    recipe = dataclasses.replace(Recipe.from_config(read_config(run)), init_from="run")
    begun = prepared_run(recipe, shutil.copytree(run, tmp_path / "next")).trainer
    assert begun.recipe.init_from == "run"
    assert begun.initial is not None
    with pytest.raises(FileNotFoundError, match=r"config\.init_from=run"):
        prepared_run(dataclasses.replace(recipe, data=continued_recipe(run).data), tmp_path / "new")
    monkeypatch.chdir(tmp_path)
    assert continued_recipe(run).data.data_dir == "photos"
    (tmp_path / "photos").rename(tmp_path / "elsewhere")
    assert continued_recipe(run).data.data_dir == "photos"  # --data may name another place


def test_classes_of_a_file_in_another_order_are_matched_by_name(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    rng = np.random.default_rng(0)
    arrays, labels = [rng.integers(0, 256, (8, 8 + index % 2, 1), np.uint8) for index in range(9)], [0, 1, 2] * 3

    def save(order: list[int], **changes) -> None:
        Path("data.npz").unlink(missing_ok=True)
        names = [changes.get(CLASSES[label], CLASSES[label]) for label in order]
        for split in ("train", "validation", "test"):
            save_npz("data.npz", arrays, [order.index(label) for label in labels], names, split)

    save([0, 1, 2])
    run = train(make_recipe(**FIELDS, data={"name": "data.npz"}), "run", progress=False)
    save([2, 0, 1])
    assert load_npz("data.npz").class_names == ("owl", "cat", "dog")
    result = evaluate("run")
    np.testing.assert_array_equal(result.labels, labels)
    np.testing.assert_array_equal(result.logits, run.test.logits)
    save([0, 1, 2], dog="dig")
    with pytest.raises(ValueError, match="unknown class 'dig': did you mean 'dog'"):
        evaluate("run", "test")
    assert capsys.readouterr().err == ""


def test_which_places_hold_the_splits_of_a_run(run, tmp_path):
    photos = tmp_path / "photos"
    assert holds_split(run, photos, "test")
    assert not holds_split(run, photos / "test", "test")  # class folders alone
    assert not holds_split(run, photos, "all")
    assert not holds_split(photos, photos, "test")
    assert not holds_split(run, tmp_path / "none", "test")
    config = read_config(run)
    config["data"] |= {"train_split": "all[:50%]", "validation_split": "all[50%:60%]", "test_split": "all[60%:]"}
    write_sealed(run / "config.json", config)
    assert holds_split(run, photos / "test", "test")
    assert not holds_split(run, photos, "test")  # a split of that name
    for table, found in ((photos / "l*.csv", True), (tmp_path / "none.csv", False), ("photos/labels.csv", False)):
        (photos / "labels.csv").touch()
        labels = {"labels": {"table": str(table)}}
        write_sealed(run / "config.json", config | {"data": config["data"] | labels})
        assert holds_split(run, photos, "test") == found
    config["data"] |= {"name": "data.npz", "data_dir": None, "test_split": "test"}
    write_sealed(run / "config.json", config)
    assert not holds_split(run, photos, "test")
    file = save_npz(tmp_path / "data.npz", [np.ones((4, 4, 1))] * 2, [0, 1], ["a", "b"], "test")
    assert not holds_split(run, file, "test")
    save_npz(file, [np.ones((4, 4, 1))] * 2, [0, 1], ["a", "b"], "all")
    assert holds_split(run, file, "test")


def test_the_recipe_of_a_new_run_and_of_prepared_data_stays(run, tmp_path):
    recipe = Recipe.from_config(read_config(run))
    assert located(recipe, tmp_path / "new") is recipe
    prepared = dataclasses.replace(recipe, data=dataclasses.replace(recipe.data, name="mnist"))
    (tmp_path / "photos").rename(tmp_path / "elsewhere")
    assert located(prepared, run) is prepared
