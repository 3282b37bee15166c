"""Files and objects are predicted as in training: in any mode, of any number of bands, and of several channels."""

import io
from pathlib import Path

import numpy as np
import pytest
import soundfile
from files_of_all_kinds import CONTIGUOUS, audio_file, images_of_all_modes, tiff_file
from PIL import Image

import fcnjax
from fcnjax.data import decode_audio, decode_image
from fcnjax.inference.inputs import Inputs
from fcnjax.training import Recipe, train


def test_images_of_all_modes_have_the_pixels_of_training(photos, tmp_path):
    model, files = fcnjax.load(photos.path).model, images_of_all_modes(np.random.default_rng(0))
    for name, content in files.items():
        (tmp_path / name).write_bytes(content)
    given = [
        [tmp_path / name for name in files],
        [Image.open(io.BytesIO(content)) for content in files.values()],
        [{"image": {"bytes": content, "path": None}, "label": 0} for content in files.values()],
    ]
    inputs = Inputs([item for items in given for item in items], model)
    assert inputs.unreadable == {}
    for index, content in enumerate(3 * list(files.values())):
        expected = decode_image(io.BytesIO(content), 3)
        np.testing.assert_array_equal(inputs[index].values, expected, err_msg=inputs.name_of(index))


def test_recordings_in_memory_are_resampled_as_files_are(recordings):
    predictor, draw = fcnjax.load(recordings.path), np.random.default_rng(1)
    content = audio_file(draw.uniform(-0.5, 0.5, (4000, 2)), 8000, subtype="FLOAT")
    samples, _ = soundfile.read(io.BytesIO(content), dtype="float32")
    expected = decode_audio(io.BytesIO(content), 4000)
    items = [{"bytes": content, "path": None}, {"audio": {"array": samples.T, "sampling_rate": 8000}}, expected]
    inputs = Inputs([*items, {"audio": {"bytes": b"no sound"}}], predictor.model)
    for index in range(3):
        np.testing.assert_array_equal(inputs[index].values, expected)
    assert inputs.unreadable["item 3"].startswith("not an audio file")


def test_floats_unlike_pixels_are_refused_by_a_network_of_pixels(photos, tmp_path):
    good, bad = tmp_path / "good.tif", tmp_path / "bad.tif"
    values = np.random.default_rng(2).uniform(0, 1, (20, 16)).astype(np.float32)
    good.write_bytes(tiff_file(values))
    bad.write_bytes(tiff_file(255 * values))
    found, reasons = fcnjax.load(photos.path).predict([good, bad])
    assert found[0] is not None
    assert "must be 0 to 1 as in training" in reasons[str(bad)]


def write_bands(path: Path, draw: np.random.Generator, label: int) -> None:
    size = draw.integers(12, 20, 2)
    path.with_suffix(".tif").write_bytes(
        tiff_file(draw.integers(0, 128 + 100 * label, (*size, 5), np.uint8), **CONTIGUOUS)
    )


def write_stereo(path: Path, draw: np.random.Generator, label: int) -> None:
    values = draw.uniform(-0.5, 0.5, (draw.integers(600, 900), 2)) * [1, 0.1 + 0.4 * label]
    path.with_suffix(".wav").write_bytes(audio_file(values, 4000))


@pytest.mark.parametrize(
    ("name", "write", "data"),
    [
        ("image_folder", write_bands, {"mean": 0.4, "std": 0.3}),
        pytest.param("audio_folder", write_stereo, {"channels": 2}, marks=pytest.mark.long),
    ],
)
def test_files_of_other_channels_are_trained_evaluated_and_predicted(name, write, data, tmp_path):
    draw, root = np.random.default_rng(3), tmp_path / "data"
    for split, count in (("train", 4), ("validation", 2), ("test", 3)):
        for label in (0, 1):
            folder = root / split / "ab"[label]
            folder.mkdir(parents=True)
            for number in range(count):
                write(folder / str(number), draw, label)
    splits = {f"{split}_split": split for split in ("train", "validation", "test")}
    recipe = {
        "data": {"name": name, "data_dir": str(root), **splits, **data},
        "model": {"name": "fcn", "channels": (4,)},
    }
    recipe = Recipe.from_config({**recipe, "epochs": 1, "batch_size": 4, "max_buckets": 1})
    done = train(recipe, tmp_path / "run", progress=False)
    predictor, files = fcnjax.load(tmp_path / "run"), sorted((root / "test").rglob("*.*"))
    found = predictor(files)
    np.testing.assert_allclose([each.logits for each in found], done.test.logits, atol=1e-5)
    again = fcnjax.evaluate(predictor, root, split="test")
    np.testing.assert_allclose(again.logits, done.test.logits, atol=1e-5)
