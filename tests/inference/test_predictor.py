"""Predictions are those of evaluation, from files, images and arrays, and what training would not take is refused."""

import dataclasses
import os
import re
from pathlib import Path

import numpy as np
import pytest
from compilations import counted_compilations
from PIL import Image

import fcnjax
from fcnjax import models
from fcnjax.data import ArraySource, UnreadableExample, decode_audio, decode_image
from fcnjax.inference import Prediction
from fcnjax.inference.inputs import check_array
from fcnjax.naming import printable
from fcnjax.training import Recipe, Trainer
from fcnjax.training.run.loop import train


@pytest.fixture(scope="module")
def predictor(photos):
    return fcnjax.load(photos.path)


def check_predictions(found: list[Prediction], evaluated: np.ndarray) -> None:
    """Asserts that predictions are the decisions of logits [N, K], and their probabilities to 1e-6."""
    assert [each.label for each in found] == evaluated.argmax(axis=1).tolist()
    exact = np.exp(evaluated.astype(np.float64) - evaluated.max(axis=1, keepdims=True))
    exact /= exact.sum(axis=1, keepdims=True)
    np.testing.assert_allclose([each.probabilities for each in found], exact, atol=1e-6)


def test_files_images_and_arrays_are_predicted_as_evaluation_predicts_the_test_split(photos, predictor):
    evaluated = photos.run.test.logits
    assert np.ptp(evaluated) > 0.01, "all examples would have the same scores"
    check_predictions(predictor(photos.files), evaluated)
    check_predictions(predictor([str(file) for file in photos.files]), evaluated)
    check_predictions(list(predictor(Image.open(file) for file in photos.files)), evaluated)
    pixels = [decode_image(file, 3) for file in photos.files]
    check_predictions([predictor(each) for each in pixels], evaluated)
    scaled = [(each / 255).astype(np.float32) for each in pixels]  # resized as floats, not rounded
    np.testing.assert_allclose([p.logits for p in predictor(scaled)], evaluated, atol=0.05 * np.ptp(evaluated))


def test_recordings_are_predicted_as_evaluation_predicts_the_test_split(recordings):
    predictor, evaluated = fcnjax.load(recordings.path / "model"), recordings.run.test.logits
    assert np.ptp(evaluated) > 0.01
    check_predictions(predictor(recordings.files), evaluated)
    check_predictions(predictor([decode_audio(file) for file in recordings.files]), evaluated)
    with pytest.raises(ValueError, match=r"dtype uint8: must be floating, of -?\d"):
        predictor(np.zeros((1600, 1), np.uint8))
    as_training = dataclasses.replace(predictor.model, values=(0.0, 1.0))  # of uint8 signals, or of floats like them
    check_array(np.zeros((1600, 1), np.uint8), as_training)


def test_a_prediction_names_its_classes_most_probable_first(predictor, photos):
    prediction = predictor(photos.files[0])
    (first, highest), (second, lowest) = prediction.top()
    assert {first, second} == {"bright", "dark one"}
    assert (first, highest) == (prediction.class_name, prediction.probability)
    assert highest >= lowest
    assert highest + lowest == pytest.approx(1)
    assert prediction.top(1) == [(first, highest)]
    assert str(prediction) == f"{photos.files[0]}: {first} ({highest:.1%})"
    with pytest.raises(ValueError, match="count=0: must be at least 1"):
        prediction.top(0)


GOOD = np.zeros((14, 20, 3), np.uint8)


@pytest.mark.parametrize(
    ("item", "sentence"),
    [
        (GOOD[..., 0], r"shape \(14, 20\): must be \[H, W, 3\], an image"),
        (GOOD[..., :1], r"shape \(14, 20, 1\): must be \[H, W, 3\]"),
        (GOOD.transpose(2, 0, 1), r"channels last; give array.transpose\(1, 2, 0\)"),
        (GOOD[None], r"give several examples as list\(batch\)"),
        (GOOD.astype(np.int64), "dtype int64: must be uint8 .* or floating"),
        (GOOD.astype(np.float32) + 200, "values of 200 to 200: must be 0 to 1 as in training; give uint8 pixels"),
        (GOOD.astype(np.float32) - 2, "values of -2 to -2: must be 0 to 1"),
        (np.full((14, 20, 3), np.nan, np.float32), "must be finite"),
        (np.zeros((0, 20, 3), np.uint8), "must be"),
        (7, r"shape \(\): must be"),
    ],
)
def test_an_array_unlike_those_of_training_is_refused_with_what_to_do(predictor, item, sentence):
    with pytest.raises(ValueError, match=sentence):
        predictor(item)


@pytest.mark.parametrize("item", [None, {"photo": 1}, object()])
def test_an_item_of_no_known_kind_is_refused(predictor, item):
    with pytest.raises(TypeError, match="must be the path of a file, a Pillow image, or an array"):
        predictor([item])


def test_a_file_that_cannot_be_read_is_named_and_does_not_stop_the_others(predictor, photos, tmp_path):
    damaged, text = tmp_path / "damaged.jpg", tmp_path / "text.png"
    damaged.write_bytes(photos.files[1].read_bytes()[:-200])
    text.write_text("no image")
    small = tmp_path / "small.png"
    Image.fromarray(GOOD[:2, :2]).save(small)
    pipe, odd = tmp_path / "pipe.jpg", tmp_path / os.fsdecode(b"\xff.png")
    os.mkfifo(pipe)  # reading it would wait
    odd.write_bytes(b"")
    endless = Path("/dev/zero")
    bad = [tmp_path / "absent.jpg", damaged, text, small, tmp_path, pipe, odd, endless, "null\0.png"]
    found, unreadable = predictor.predict([photos.files[0], *bad, photos.files[1]])
    assert [each is None for each in found] == [False, *(True for _ in bad), False]
    assert list(map(str, bad)) == sorted(unreadable, key=list(map(str, bad)).index)
    assert "below the minimum of this network" in unreadable[str(small)]
    assert unreadable[str(pipe)] == unreadable["/dev/zero"] == "is not a file"
    check_predictions([found[0], found[-1]], photos.run.test.logits[:2])
    for file in bad:
        with pytest.raises(UnreadableExample, match=re.escape(printable(file))):
            predictor(file)


def test_an_example_that_is_too_large_for_memory_is_named(photos, tmp_path):
    file = tmp_path / "large.png"
    Image.fromarray(np.zeros((20, 20, 3), np.uint8)).save(file)
    predictor = fcnjax.load(photos.path, max_area=399)
    found, unreadable = predictor.predict([file, np.zeros((19, 21, 3), np.uint8)])
    assert (found[0], found[1] is None) == (None, False)
    assert unreadable == {str(file): "20x20 has more than max_area=399 positions"}


def test_a_hundred_sizes_compile_few_programs_and_later_calls_none(photos):
    predictor, rng = fcnjax.load(photos.path, max_buckets=3, batch_size=16), np.random.default_rng(2)
    drawn = [rng.integers(0, 256, (*rng.integers(10, 24, 2), 3)).astype(np.uint8) for _ in range(100)]
    predictor(drawn)
    assert predictor.programs <= 3
    with counted_compilations() as seen:
        again = predictor(drawn)
    assert not seen
    alone = fcnjax.load(photos.path, max_buckets=1, batch_size=1)
    np.testing.assert_allclose([p.logits for p in again[:5]], [alone(x).logits for x in drawn[:5]], atol=1e-5)


@pytest.mark.parametrize("option", ["max_buckets", "batch_size", "max_area"])
def test_options_are_at_least_one(photos, option):
    with pytest.raises(ValueError, match=f"{option}=0: must be at least 1"):
        fcnjax.load(photos.path, **{option: 0})


@pytest.mark.long
@pytest.mark.parametrize("network", sorted(models.MODELS))
def test_every_network_predicts_as_it_is_evaluated_at_sizes_it_was_not_trained_on(network, tmp_path):
    rng = np.random.default_rng(3)

    def source(count: int, first: int, sides: tuple[int, int]) -> ArraySource:
        drawn = [rng.integers(0, 256, (*rng.integers(*sides, 2), 3)).astype(np.uint8) for _ in range(count)]
        return ArraySource(drawn, np.arange(count) % 2, ("a", "b"), first_id=first)

    sources = {"train": source(4, 0, (48, 56)), "validation": source(2, 4, (48, 56)), "test": source(4, 6, (60, 90))}
    recipe = {"data": {"name": "mine", "mean": 0.5}, "model": {"name": network}, "epochs": 1, "max_buckets": 1}
    recipe = Recipe.from_config({**recipe, "batch_size": 4})
    done = train(recipe, tmp_path / "run", trainer=Trainer(recipe, sources), progress=False)
    found = fcnjax.load(tmp_path / "run")([sources["test"][index].values for index in range(4)])
    check_predictions(found, done.test.logits)
