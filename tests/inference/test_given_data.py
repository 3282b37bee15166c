"""Evaluation on data that training never saw: the logits of the run's own evaluation, and classes matched by name."""

import dataclasses
import shutil

import numpy as np
import pytest
from PIL import Image

import fcnjax
from fcnjax.data import ArraySource, Example, LabelSettings, decode_image, save_npz
from fcnjax.inference.given_data import open_data
from fcnjax.training import EvaluationResult

CLASSES = ("bright", "dark one")


@pytest.fixture(scope="module")
def predictor(photos):
    return fcnjax.load(photos.path)


@pytest.fixture
def folder(photos, tmp_path):
    """A copy of the images, to change."""
    return shutil.copytree(photos.path.parent / "elsewhere" / "test", tmp_path / "photos")


def pixels(photos) -> list[np.ndarray]:
    return [decode_image(file, 3) for file in photos.files]


def labels_of(photos) -> list[int]:
    return [CLASSES.index(file.parent.name) for file in photos.files]


def check_equal(found: EvaluationResult, wanted: EvaluationResult) -> None:
    assert np.ptp(wanted.logits) > 0.01, "all examples would have the same scores"
    np.testing.assert_allclose(found.logits, wanted.logits, atol=1e-6)
    np.testing.assert_array_equal(found.logits.argmax(axis=1), wanted.logits.argmax(axis=1))
    np.testing.assert_array_equal(found.labels, wanted.labels)
    np.testing.assert_array_equal(found.sizes, wanted.sizes)
    assert (found.correct, found.count, found.unreadable) == (wanted.correct, wanted.count, 0)
    assert found.loss == pytest.approx(wanted.loss, abs=1e-6)
    np.testing.assert_array_equal(found.metrics.confusion, wanted.metrics.confusion)


def test_a_folder_of_images_has_the_logits_of_the_runs_own_evaluation(photos, folder):
    check_equal(fcnjax.evaluate(photos.path, photos.path.parent / "elsewhere"), photos.run.test)
    check_equal(fcnjax.evaluate(str(photos.path / "model"), str(folder)), photos.run.test)


@pytest.mark.parametrize("pattern", ["labels.csv", "label*.csv"])
def test_labels_come_from_an_absolute_table_of_training_if_it_names_the_files(predictor, folder, tmp_path, pattern):
    labels = LabelSettings(table=str(tmp_path / pattern))
    data = dataclasses.replace(predictor.model.recipe.data, labels=labels)
    model = dataclasses.replace(predictor.model, recipe=dataclasses.replace(predictor.model.recipe, data=data))
    rows = [f"{file.relative_to(folder)},{'ab'[number % 2]}" for number, file in enumerate(folder.rglob("*.*"))]
    (tmp_path / "labels.csv").write_text("\n".join(["file,label", *rows]))
    assert open_data(folder, model, verify=False).class_names == ("a", "b")
    (tmp_path / "labels.csv").write_text("file,label\nnone.png,a\nnor.png,b\n")
    assert open_data(folder, model, verify=False).class_names == CLASSES


def test_a_folder_of_recordings_has_the_logits_of_the_runs_own_evaluation(recordings):
    check_equal(fcnjax.evaluate(recordings.path, recordings.path.parent / "elsewhere"), recordings.run.test)


def test_a_file_and_sources_have_them_whatever_the_order_of_their_classes(photos, predictor, tmp_path):
    reverse = [1 - label for label in labels_of(photos)]
    file = save_npz(tmp_path / "all.npz", pixels(photos), reverse, CLASSES[::-1], "test")
    save_npz(file, pixels(photos)[:1], [0], CLASSES[::-1], "train")
    check_equal(fcnjax.evaluate(predictor, file), photos.run.test)
    assert fcnjax.evaluate(predictor, file, split="train+test").count == 13
    check_equal(fcnjax.evaluate(predictor, ArraySource(pixels(photos), reverse, CLASSES[::-1])), photos.run.test)
    pairs = list(zip(pixels(photos), labels_of(photos), strict=True))
    check_equal(fcnjax.evaluate(predictor, pairs), photos.run.test)


def test_classes_may_be_some_of_the_models(photos, predictor, folder):
    shutil.rmtree(folder / "bright")
    found, dark = fcnjax.evaluate(predictor, folder), np.array(labels_of(photos)) == 1
    np.testing.assert_allclose(found.logits, photos.run.test.logits[dark], atol=1e-6)
    assert found.metrics.class_counts.tolist() == [0, 6]
    assert found.metrics.confusion.sum(axis=1).tolist() == [0, 6]


def test_classes_that_the_model_lacks_are_refused_by_name_or_skipped(photos, predictor, folder):
    (folder / "bright").rename(folder / "brihgt")
    with pytest.raises(ValueError, match=r"^data=.*photos: unknown class 'brihgt': did you mean 'bright'\? .* 6 of 12"):
        fcnjax.evaluate(predictor, folder)
    found = fcnjax.evaluate(predictor, folder, unknown_classes="skip")
    assert (found.count, len(found.logits), dict(found.reasons)) == (6, 6, {})


def test_what_cannot_be_read_is_left_out_with_a_reason_or_refused(photos, predictor, folder):
    good = (folder / "bright" / "0.png").read_bytes()
    (folder / "bright" / "text.png").write_text("not an image")
    (folder / "bright" / "cut.png").write_bytes(good[: len(good) // 2])  # behind an intact header
    Image.new("RGB", (2, 9)).save(folder / "dark one" / "small.png")
    found = fcnjax.evaluate(predictor, folder)
    assert found.reasons.keys() == {"bright/text.png", "bright/cut.png", "dark one/small.png"}
    assert found.reasons["dark one/small.png"] == "its size 9x2 is below the minimum 4x4"
    assert (found.count, found.unreadable, found.metrics.left_out) == (12, 1, 1)
    assert found.correct == photos.run.test.correct
    with pytest.raises(ValueError, match=r"3 examples cannot be evaluated \(bright/.*\.png: .*out with on_error=mask"):
        fcnjax.evaluate(predictor, folder, on_error="refuse")


def test_files_of_which_none_can_be_evaluated_are_refused(predictor, folder):
    for file in folder.rglob("*.*"):
        file.write_bytes(b"nothing")
    with pytest.raises(ValueError, match=r"must hold images as in training, and none of its 12 files can be read"):
        fcnjax.evaluate(predictor, folder)
    for file in folder.rglob("*.*"):
        Image.new("RGB", (3, 3)).save(file)
    with pytest.raises(
        ValueError,
        match=r"all 12 examples are below the network's minimum 4x4, such as bright/0.png 3x3",
    ):
        fcnjax.evaluate(predictor, folder)


def test_of_a_divided_folder_the_test_split_is_taken(predictor, photos):
    divided = photos.path.parent / "elsewhere"
    assert fcnjax.evaluate(predictor, divided).count == 12
    assert fcnjax.evaluate(predictor, divided, split="validation").count == 4
    assert fcnjax.evaluate(predictor, divided, split="all").count == 32


def test_a_class_that_is_called_test_is_no_split(predictor, folder):
    (folder / "dark one").rename(folder / "test")
    model = dataclasses.replace(predictor.model, classes=("bright", "test"))
    assert open_data(folder, model, verify=False).class_names == ("bright", "test")


class Damaged:
    """Two images, of which one cannot be decoded, that know their sizes but not their labels."""

    sizes, ids, channels, class_names = np.full((2, 2), 12, np.int32), np.arange(2, dtype=np.int32), 3, CLASSES[::-1]

    def __len__(self):
        return 2

    def __getitem__(self, index):
        if index == 0:
            raise fcnjax.data.UnreadableExample("example 0", "damaged")
        return Example(index, np.zeros((12, 12, 3), np.uint8), 0)


def test_a_source_that_does_not_know_its_labels_is_evaluated(predictor):
    found = fcnjax.evaluate(predictor, Damaged())
    assert (found.labels.tolist(), found.unreadable, found.count) == ([-1, 1], 1, 1)
    assert dict(found.reasons) == {"example 0": "damaged"}


def test_a_broken_network_is_not_taken_for_broken_files(predictor, folder, monkeypatch):
    scores = type(predictor).scores
    monkeypatch.setattr(type(predictor), "scores", lambda *args, **options: (scores(*args)[0] * np.nan, {}))
    found = fcnjax.evaluate(predictor, folder)
    assert (found.unreadable, found.count) == (0, 12)
    with pytest.raises(FloatingPointError, match="logits: are NaN for 12 of 12 examples"):
        found.metrics  # noqa: B018


@pytest.mark.parametrize(
    ("arguments", "options", "error", "sentence"),
    [
        (("nowhere",), {}, FileNotFoundError, "data=nowhere: no such folder or .npz file, and unknown split 'nowhere'"),
        (("tset",), {}, FileNotFoundError, "did you mean 'test'"),
        (("test",), {}, ValueError, "data='test': needs a run that has such a split; give its folder, or data of your"),
        (([],), {}, ValueError, "data: must hold at least one item"),
        ((3,), {}, TypeError, "data: a int lacks __len__"),
        (([(np.zeros((9, 9, 1), np.uint8), 0)],), {}, ValueError, "must have channels=3 as its last axis"),
        (([(np.full((9, 9, 3), 200.0), 0)],), {}, ValueError, "data: example 0, array of shape .* divide them by 255"),
        (([(np.zeros((9, 9, 3), np.uint8), 2)],), {}, ValueError, "label"),
        (([(np.zeros((9, 9, 3), np.uint8), 0)], "best"), {}, ValueError, "checkpoint=best: needs a split of the run"),
        (([(np.zeros((9, 9, 3), np.uint8), 0)],), {"split": "a"}, ValueError, "split='a': needs the path of a folder"),
        (([(np.zeros((9, 9, 3), np.uint8), 0)],), {"on_error": "a"}, ValueError, "unknown on_error 'a'"),
        (([(np.zeros((9, 9, 3), np.uint8), 0)],), {"unknown_classes": "a"}, ValueError, "unknown unknown_classes 'a'"),
        (
            (ArraySource([np.zeros((9, 9, 3), np.uint8)], [0]),),
            {},
            ValueError,
            "data: all 1 examples have classes",
        ),
    ],
)
def test_a_mistake_gets_one_sentence(predictor, arguments, options, error, sentence):
    with pytest.raises(error, match=sentence) as caught:
        fcnjax.evaluate(predictor, *arguments, **options)
    assert "\n" not in str(caught.value)


def test_a_split_needs_a_run_and_a_file_a_split(photos, predictor, tmp_path):
    with pytest.raises(ValueError, match=r"data='test': needs a run, and .*model is a model alone; give its run"):
        fcnjax.evaluate(photos.path / "model")
    with pytest.raises(FileNotFoundError, match="must be a run or a model folder"):
        fcnjax.evaluate(tmp_path)
    file = save_npz(tmp_path / "a.npz", pixels(photos)[:2], [0, 1], CLASSES, "morning")
    assert fcnjax.evaluate(predictor, file).count == 2
    save_npz(file, pixels(photos)[:2], [0, 1], CLASSES, "evening")
    with pytest.raises(ValueError, match=r"a.npz: holds splits evening, morning; choose one with split=evening"):
        fcnjax.evaluate(predictor, file)
