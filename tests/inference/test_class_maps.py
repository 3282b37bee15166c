"""Class maps, activation maps and embeddings: the same in any batch, and in their places in the example."""

import csv
import dataclasses
import io
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import soundfile
from compilations import counted_compilations
from flax import nnx
from PIL import Image
from pyarrow import parquet

import fcnjax
from fcnjax import Padded, models
from fcnjax.commands.command_line import UNUSABLE
from fcnjax.data import UnreadableExample
from fcnjax.heads import MapKind
from fcnjax.inference import ExampleMaps, Prediction, Predictor
from fcnjax.inference.map_folder import picture_names
from fcnjax.inference.map_pictures import frame_table
from fcnjax.training import Recipe
from fcnjax.training.build import make_model_for
from fcnjax.training.standalone import Standalone
from fcnjax.training.step.step import split


def make_predictor(size=None, head=None, frontend=None, axes=2, data=None, **options) -> Predictor:
    """Returns a predictor of a network with drawn weights, biases and statistics, of three classes."""
    fields = {"data": {"name": "mine", **(data or {})}, "model": {"name": "fcn", "channels": (4, 6), "norm": "batch"}}
    fields |= {"size": size or {}, "head": head or {}} | ({"frontend": frontend} if frontend else {})
    recipe = Recipe.from_config(fields)
    graphdef, *arrays = split(make_model_for(recipe, 3, 3 if axes == 2 else 1, axes, 0))
    rng, channels = np.random.default_rng(5), 3 if axes == 2 else 1
    weights, statistics = (
        {
            name: jnp.asarray(rng.uniform(0.1, 1, each.shape) * rng.choice([-1, 1], each.shape))
            for name, each in some.items()
        }
        for some in arrays
    )
    statistics = {name: abs(each) for name, each in statistics.items()}  # variances
    values = (0.0, 1.0) if axes == 2 else (-1.0, 1.0)
    classes = ("a", "b", "c")
    model = Standalone(Path(), recipe, classes, channels, axes, values, graphdef, weights, statistics, {})
    return Predictor(model, **options)


def draw(*sizes, seed=0) -> list[np.ndarray]:
    rng = np.random.default_rng(seed)
    return [rng.integers(0, 256, (*size, 3)).astype(np.uint8) for size in sizes]


def network_maps(predictor: Predictor, image: np.ndarray) -> np.ndarray:
    """Returns the class maps of an image alone, at its own size."""
    network = predictor.network
    batch = Padded.stack([image.astype(np.float32) / 255])
    return jax.jit(network.class_maps)(batch).unstack()[0]


@pytest.mark.parametrize("head", [{}, {"pool_at": 0}, {"hidden": (5,), "pool_at": 2}, {"log_softmax": True}])
def test_maps_are_those_of_each_image_alone_and_their_mean_is_the_logits(head):
    predictor, images = make_predictor(head=head, max_buckets=2), draw((12, 40), (20, 13), (8, 8))
    found = predictor.class_maps(images)
    assert predictor.programs <= 2
    for image, maps, prediction in zip(images, found, predictor(images), strict=True):
        expected = network_maps(predictor, image)
        if head.get("log_softmax"):
            expected = np.exp(expected)
            np.testing.assert_allclose(maps.maps.sum(axis=-1), 1, rtol=1e-5)
        np.testing.assert_allclose(maps.maps, expected, rtol=1e-4, atol=1e-5)
        assert maps.unit == ("probability" if head.get("log_softmax") else "score")
        np.testing.assert_allclose(maps.prediction.logits, prediction.logits, rtol=1e-5, atol=1e-6)
        if not head.get("log_softmax"):
            np.testing.assert_allclose(maps.maps.mean(axis=(0, 1)), prediction.logits, rtol=1e-4, atol=1e-5)
        np.testing.assert_array_equal(maps.of(), maps.maps[..., prediction.label])
    assert found[0].kind is (
        MapKind.CAM if "pool_at" in head and head["pool_at"] < 1 + 2 * bool(head.get("hidden")) else MapKind.HEAD
    )


def test_later_calls_compile_nothing():
    predictor, images = make_predictor(), draw((12, 40), (20, 13))
    first = predictor.class_maps(images)
    with counted_compilations() as seen:
        again = predictor.class_maps(images)
    assert not seen
    np.testing.assert_array_equal(first[1].maps, again[1].maps)


def test_a_flatten_dense_head_has_no_maps_but_embeddings():
    predictor = make_predictor(head={"flatten": (4, 4)})
    with pytest.raises(ValueError, match="'flatten 4x4 -> linear 3': has no class maps"):
        predictor.class_maps(draw((16, 16)))
    assert predictor.embeddings(draw((16, 16))).shape == (1, 6)
    found, unreadable = predictor.predict(draw((16, 16), (16, 20)))
    assert [each is None for each in found] == [False, True]
    assert unreadable["item 1"].startswith("16x20 has features of 4x5 positions, but a flatten-dense head made for 4x4")


@pytest.mark.parametrize(
    ("policy", "size"),
    [
        ({}, (24, 40)),
        ({"max_side": 20}, (40, 24)),
        ({"below": "pad", "min_side": 20}, (24, 9)),
        ({"max_area": 200}, (17, 50)),
    ],
)
def test_scores_lie_where_the_image_changes_them(policy, size):
    """A pixel that changes moves the scores around it: their weighted middle is where the map says that they lie."""
    predictor = make_predictor(size=policy, head={"pool_at": 0})
    gray = np.full((*size, 3), 100, np.uint8)
    before = predictor.class_maps([gray])[0]
    assert before.size == size
    strides = [np.diff(each).max(initial=0) for each in before.centers]
    for share in (0.3, 0.5, 0.7):
        at = [int(share * extent) for extent in size]
        changed = gray.copy()
        changed[tuple(slice(max(0, n - 1), n + 2) for n in at)] = 255
        moved = abs(predictor.class_maps([changed])[0].maps - before.maps).sum(axis=-1)
        assert moved.max() > 0
        for axis, stride in enumerate(strides):
            along = moved.sum(axis=1 - axis)
            middle = (before.centers[axis] * along).sum() / along.sum()
            assert abs(middle - at[axis] - 0.5) <= max(stride, 1.5), (policy, axis, middle, at)


def test_centers_are_in_the_example_before_the_size_policy():
    halved = make_predictor(size={"max_side": 16}).class_maps(draw((32, 24)))[0]  # to 16x12, then 4 and 2 times
    np.testing.assert_allclose(halved.centers[0], (4 * np.arange(4) + 2) * 2)
    np.testing.assert_allclose(halved.centers[1], (4 * np.arange(3) + 2) * 2)
    padded = make_predictor(size={"below": "pad", "min_side": 16}).class_maps(draw((16, 10)))[0]  # three zeros before
    np.testing.assert_allclose(padded.centers[1], 4 * np.arange(4) + 2 - 3)


@pytest.mark.parametrize("name", sorted(models.MODELS))
def test_a_score_of_each_network_lies_in_the_middle_of_what_it_depends_on(name):
    network = nnx.eval_shape(lambda: models.create(name, classes=2, in_channels=1, rngs=nnx.Rngs(0)))
    centers = network.map_centers((3, 5))
    for along, n, stride in zip(centers, (3, 5), network.stride, strict=True):
        assert along.shape == (n,)
        np.testing.assert_allclose(np.diff(along), float(stride))
        assert abs(along[0] - float(stride) / 2) <= float(stride), "the first score lies near the edge"


def test_overlays_have_the_aspect_of_the_image_and_color_where_the_scores_are_high():
    size, prediction = (40, 80), Prediction(np.array([0.0, 1.0]), ("a", "b"))
    scores = np.zeros((4, 8, 2), np.float32)
    scores[1, 6, 1] = 3
    centers = (10 * np.arange(4) + 5.0, 10 * np.arange(8) + 5.0)
    image = np.full((*size, 3), 128, np.uint8)
    maps = ExampleMaps(scores, centers, size, prediction, MapKind.HEAD, "score", lambda extents: image)
    overlay = np.asarray(maps.overlay()).astype(int)
    assert overlay.shape == (40 * 3, 80 * 3, 3)  # small images are enlarged, at most to 256 pixels
    redness = overlay[..., 0] - overlay[..., 2]
    top, left = np.unravel_index(redness.argmax(), redness.shape)
    assert abs(top + 0.5 - 3 * centers[0][1]) <= 2
    assert abs(left + 0.5 - 3 * centers[1][6]) <= 2
    np.testing.assert_array_equal(overlay[0, 0], 128)  # gray without a score
    assert not maps.heat(0).any()  # all scores equal
    large = dataclasses.replace(maps, size=(1000, 3000), read=lambda extents: np.zeros((1000, 3000, 1), np.uint8))
    assert large.overlay(max_side=300).size == (300, 100)


def test_signals_have_times_and_no_overlay():
    predictor = make_predictor(
        axes=1, data={"sample_rate": 4000}, frontend={"name": "log_mel", "mels": 4, "sample_rate": 4000}
    )
    maps = predictor.class_maps([np.zeros((2000, 1), np.float32)])[0]
    steps, frames = np.diff(maps.times), len(maps.times)
    assert maps.maps.shape == (frames, 3)
    np.testing.assert_allclose(steps, 4 * 0.010)  # two halvings of frames of 10 ms
    first = 0.025 / 2 + 0.010 * 1.5  # the middle of the first four frames
    assert maps.times[0] == pytest.approx(first)
    for what in (maps.overlay, maps.heat):
        with pytest.raises(ValueError, match="must be of an image"):
            what()


def test_times_are_in_samples_if_the_rate_of_a_signal_is_unknown(tmp_path):
    predictor = make_predictor(axes=1, data={"sample_rate": None})
    file = tmp_path / "own.wav"
    soundfile.write(file, np.zeros(1000), 500)
    of_array, of_file = predictor.class_maps([np.zeros((1000, 1), np.float32), file])
    assert (of_array.rate, of_file.rate) == (None, 500)
    np.testing.assert_allclose(of_array.times, 4 * np.arange(250) + 2)
    np.testing.assert_allclose(of_file.times, of_array.times / 500)
    assert frame_table(of_array).startswith(b"samples,a,b,c\n2,")
    assert frame_table(of_file).startswith(b"seconds,a,b,c\n0.004,")


def test_embeddings_are_the_pooled_features_of_each_file_alone(photos):
    predictor = fcnjax.load(photos.path, max_buckets=2)
    found = predictor.embeddings(photos.files)
    assert found.dtype == np.float32
    alone = np.concatenate([fcnjax.load(photos.path).embeddings([file]) for file in photos.files[:3]])
    np.testing.assert_allclose(found[:3], alone, rtol=1e-4, atol=1e-5)
    classifier: Any = predictor.network.head.layers[0]
    logits = found @ np.asarray(classifier.kernel[...]).reshape(found.shape[1], -1) + np.asarray(classifier.bias[...])
    np.testing.assert_allclose(logits, photos.run.test.logits, rtol=1e-3, atol=1e-4)
    assert predictor.embeddings([]).shape == (0, found.shape[1])
    with pytest.raises(UnreadableExample, match="absent.png"):
        predictor.embeddings(["absent.png"])


def test_the_command_draws_a_picture_of_each_file_and_says_which_maps_these_are(predict_with, photos, tmp_path):
    absent, folder = tmp_path / "absent.jpg", tmp_path / "maps"
    arguments = (f"--to={tmp_path}/a.csv", f"--class_maps={folder}", f"--embeddings={tmp_path}/e.npz")
    code, out, error = predict_with(photos, *arguments, *photos.files, absent)
    assert code == 0
    assert f"class maps {folder}: 12 pictures, class maps of the head" in out
    assert f"embeddings {tmp_path}/e.npz: 12 rows of 4 features, 1 left out" in out
    assert error.splitlines() == [f"{absent}: No such file or directory"]
    rows = list(csv.DictReader((tmp_path / "a.csv").read_text().splitlines()))
    names = [row["class_map"] for row in rows]
    assert names[-1] == ""
    assert len(set(names[:-1])) == 12  # six names in two folders
    assert {file.name for file in folder.iterdir()} == set(names[:-1])
    for file, name in zip(photos.files, names, strict=False):
        assert name.startswith(f"{file.name}-")
        with Image.open(file) as image, Image.open(folder / name) as picture:
            assert picture.height > image.height
    archive = np.load(tmp_path / "e.npz")
    assert archive["files"].tolist() == list(map(str, photos.files))
    assert archive["classes"].tolist() == [row["class"] for row in rows[:-1]]
    np.testing.assert_allclose(
        archive["embeddings"], fcnjax.load(photos.path).embeddings(photos.files), rtol=1e-3, atol=1e-5
    )


def test_recordings_get_a_table_of_frames_and_a_picture(predict_with, recordings, tmp_path):
    code, out, _ = predict_with(
        recordings, f"--to={tmp_path}/a.csv", f"--class_maps={tmp_path}/maps", recordings.files[0]
    )
    assert code == 0
    assert "1 pictures, class maps of the head" in out
    name = recordings.files[0].name
    assert {file.name for file in (tmp_path / "maps").iterdir()} == {f"{name}.csv", f"{name}.png"}
    rows = list(csv.reader((tmp_path / "maps" / f"{name}.csv").read_text().splitlines()))
    assert rows[0] == ["seconds", "bright", "dark one"]
    maps = fcnjax.load(recordings.path).class_maps(recordings.files[:1])[0]
    np.testing.assert_allclose(np.array(rows[1:], float), np.column_stack([maps.times, maps.maps]), rtol=1e-4)


@pytest.mark.parametrize("suffix", [".npy", ".parquet"])
def test_embeddings_of_other_formats(predict_with, photos, tmp_path, suffix):
    file = tmp_path / f"e{suffix}"
    assert predict_with(photos, f"--to={tmp_path}/a.csv", f"--embeddings={file}", *photos.files[:2])[0] == 0
    expected = fcnjax.load(photos.path).embeddings(photos.files[:2])
    found = np.load(file) if suffix == ".npy" else parquet.read_table(io.BytesIO(file.read_bytes())).to_pydict()
    if suffix == ".parquet":
        assert found["file"] == list(map(str, photos.files[:2]))
        found = found["embedding"]
    np.testing.assert_allclose(found, expected, rtol=1e-3, atol=1e-5)


def test_mistakes_are_one_sentence_and_write_nothing(predict_with, photos, tmp_path):
    full = tmp_path / "full"
    full.mkdir()
    (full / "mine").write_text("mine")
    for argument, sentence in (
        (f"--class_maps={full}", "must be a new or empty folder"),
        (f"--class_maps={full}/mine", "must be a new or empty folder"),
        (f"--embeddings={full}/mine", "must end in .npz, .parquet, .npy"),
        (f"--embeddings={full}", "must end in"),
    ):
        code, out, error = predict_with(photos, f"--to={tmp_path}/a.csv", argument, photos.files[0])
        assert (code, out) == (UNUSABLE, "")
        assert sentence in error
        assert error.count("\n") == 1
    (full / "e.npz").write_text("mine")
    again = (f"--to={tmp_path}/a.csv", f"--embeddings={full}/e.npz", f"--class_maps={full}", photos.files[0])
    assert "exists; choose another path" in predict_with(photos, *again)[2]
    assert predict_with(photos, *again, "--overwrite")[0] == 0
    assert {file.name for file in full.iterdir()} == {"mine", "e.npz", f"{photos.files[0].name}.png"}


def test_names_of_pictures_are_those_of_files_and_never_the_same():
    long, other = "x" * 300 + ".jpg", "y/" + "x" * 300 + ".jpg"
    files = ["a/cat.jpg", "b/cat.jpg", "b/CAT.jpg", "dog.jpg", "new\nline.png", "-dash.png", "/", long, other, "é.png"]
    names = picture_names(files)
    assert len({name.casefold() for name in names}) == len(files)
    assert names[3:6] == ["dog.jpg", "new\\nline.png", "-dash.png"]
    assert names[-1] == "é.png"
    assert all(name.startswith(("cat.jpg-", "CAT.jpg-")) for name in names[:3])
    assert all(len(name.encode()) < 200 and "/" not in name for name in names)
    assert picture_names(files[:1] + files[2:3])[0] == names[0]  # the hash depends on the path alone
