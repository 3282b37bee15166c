"""One decoder for all roads: an image or a recording gives the same values from a folder, TFDS, and as an object."""

import io
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
import tensorflow_datasets as tfds
from files_of_all_kinds import audio_file, images_of_all_modes, pillow_file
from PIL import Image

from fcnjax.data import (
    FolderSource,
    LabelSettings,
    TfdsSource,
    UnreadableExample,
    as_source,
    decode_audio,
    decode_image,
)
from fcnjax.data.tfds.prepare import prepare
from fcnjax.data.tfds.records import open_prepared, prepared_folder

FILES = images_of_all_modes(np.random.default_rng(0))
GRAY = ("1.png", "L.png", "LA.png", "gray16.png")
STEREO = np.random.default_rng(1).uniform(-0.5, 0.5, (500, 2))


class AllModes(tfds.core.GeneratorBasedBuilder):
    """Files of all modes, as they are, in the order of their names."""

    name = "all_modes"
    VERSION = tfds.core.Version("1.0.0")

    def _info(self) -> tfds.core.DatasetInfo:
        features = {"image": tfds.features.Image(), "label": tfds.features.ClassLabel(num_classes=1)}
        features["id"] = tfds.features.Scalar(np.int64)
        return tfds.core.DatasetInfo(builder=self, features=tfds.features.FeaturesDict(features))

    def _split_generators(self, dl_manager):
        return {"train": self._generate_examples()}

    def _generate_examples(self):
        for index, name in enumerate(sorted(FILES)):
            yield index, {"image": io.BytesIO(FILES[name]), "label": 0, "id": index}


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("roads")
    (folder / "all/a").mkdir(parents=True)
    for name, content in FILES.items():
        (folder / "all/a" / name).write_bytes(content)
    (folder / "all/labels.csv").write_text("path,label\n" + "".join(f"a/{name},a\n" for name in sorted(FILES)))
    return folder


def test_an_image_has_the_same_pixels_on_every_road(root):
    expected = {name: decode_image(io.BytesIO(content), 3) for name, content in FILES.items()}
    names = sorted(FILES)
    folder = FolderSource.images(root / "all", "all")
    assert [Path(name).name for name in folder.names] == names
    prepare(lambda: AllModes(data_dir=root, file_format="array_record"))
    path = prepared_folder("all_modes", root)
    assert path is not None
    records = TfdsSource(open_prepared(path), "train")
    roads: dict[str, Any] = {
        "table": FolderSource.images(root / "all", "all", labels=LabelSettings(table="labels.csv"), channels=3),
        "Pillow": as_source([(Image.open(io.BytesIO(FILES[name])), 0) for name in names]),
        "keys": as_source([{"image": Image.open(io.BytesIO(FILES[name])), "label": 0} for name in names]),
        "bytes": as_source([{"image": {"bytes": FILES[name], "path": None}, "label": 0} for name in names]),
        "path": as_source([{"image": {"path": str(root / "all/a" / name)}, "label": 0} for name in names]),
    }
    for index, name in enumerate(names):
        values = {"folder": folder[index].values, **{road: source[index].values for road, source in roads.items()}}
        values["tfds"] = records[records.ids.tolist().index(index)].values
        for road, found in values.items():
            assert found.dtype == expected[name].dtype, (road, name)
            np.testing.assert_array_equal(found, expected[name], err_msg=f"{road}, {name}")


def test_images_as_objects_are_gray_if_all_are_and_channels_can_be_given():
    gray = as_source([(Image.open(io.BytesIO(FILES[name])), 0) for name in GRAY])
    assert gray.channels == 1
    for index, name in enumerate(GRAY):
        np.testing.assert_array_equal(gray[index].values, decode_image(io.BytesIO(FILES[name]), 1))
    mixed = [({"bytes": FILES["RGBA.png"]}, 0), ({"bytes": FILES["RGBA.png"]}, 0)]
    assert as_source(mixed).channels == 3
    four = as_source(mixed, channels=4)
    assert (four.channels, four[1].values.shape) == (4, (9, 14, 4))
    with pytest.raises(UnreadableExample, match=r"data\[1\]: has 1 band, not 4 as asked"):
        as_source([mixed[0], ({"bytes": FILES["L.png"]}, 0)], channels=4)
    first = as_source([({"bytes": FILES["L.png"]}, 0), mixed[0]], ["a"], sizes=[(9, 14)] * 2)
    assert first[1].values.shape == (9, 14, 1)  # as the first, since no other was read
    arrays = as_source([(np.zeros((4, 4, 3), np.uint8), 0), ({"bytes": FILES["L.png"]}, 0)])
    assert arrays[1].values.shape == (9, 14, 3)


class Decoder:
    """What torchcodec's `AudioDecoder` has."""

    def __init__(self, samples: np.ndarray, rate: int):
        self.samples, self.rate = samples, rate

    def get_all_samples(self):
        return type("AudioSamples", (), {"data": self.samples.T.astype(np.float32), "sample_rate": self.rate})


@pytest.mark.parametrize("channels", [None, 2])
def test_a_recording_has_the_same_samples_on_every_road(tmp_path, channels):
    content = audio_file(STEREO, 8000, "WAV", "FLOAT")
    (tmp_path / "a").mkdir()
    (tmp_path / "a/1.wav").write_bytes(content)
    expected = decode_audio(io.BytesIO(content), None, channels)
    folder = FolderSource.audio(tmp_path, "all", channels=channels)
    np.testing.assert_array_equal(folder[0].values, expected)
    objects = (
        {"bytes": content, "path": "elsewhere.wav"},
        {"bytes": None, "path": str(tmp_path / "a/1.wav")},
        {"array": STEREO.T.astype(np.float32), "sampling_rate": 8000},
        Decoder(STEREO, 8000),
        content,
    )
    for item in objects:
        source = as_source([{"audio": item, "label": 0}], channels=channels)
        np.testing.assert_array_equal(source[0].values, expected)
        assert source.notes == ()


def test_objects_that_hold_no_example_are_named():
    opposite = {"array": np.stack([STEREO[:, 0], -STEREO[:, 0]]), "sampling_rate": 8000}
    for item, says in (
        ({"audio": opposite}, r"data\[0\]: its 2 channels cancel each other"),
        ({"audio": {"array": np.zeros((1, 2, 3)), "sampling_rate": 1}}, r"data\[0\]: must hold samples"),
        ({"audio": {"array": STEREO, "sampling_rate": 8000}}, r"not 500 channels of 2 samples; give array.T"),
        ({"audio": {"bytes": b"no sound"}}, r"data\[0\]: not an audio file"),
        ({"image": {"bytes": b"no image", "path": None}}, r"data\[0\]: not an image"),
        ({"image": {"bytes": None, "path": None}}, r"data\[0\]: has neither bytes nor a path"),
        ({"image": Image.fromarray(np.ones((3, 3), np.int32))}, r"data\[0\]: not supported: mode I"),
    ):
        with pytest.raises(UnreadableExample, match=says):
            as_source([{**item, "label": 0}])
    with pytest.raises(FileNotFoundError, match="absent"):
        as_source([{"image": {"path": "absent.png"}, "label": 0}])


def test_recordings_of_several_rates_are_noted():
    items = [{"audio": {"array": STEREO[:, 0], "sampling_rate": rate}, "label": 0} for rate in (8000, 8000, 16000)]
    (note,) = as_source(items).notes
    assert note.startswith("recordings have 2 rates, such as 8000 Hz (item 0) and 16000 Hz (item 2)")


def test_floats_of_pillow_are_as_those_of_a_file():
    values = np.random.default_rng(2).uniform(-5, 5, (6, 7)).astype(np.float32)
    file = decode_image(io.BytesIO(pillow_file(values, "TIFF")), None)
    np.testing.assert_array_equal(as_source([(Image.fromarray(values), 0)])[0].values, file)


def test_a_soundfile_of_three_channels_is_refused_where_two_are_asked(tmp_path):
    (tmp_path / "a").mkdir()
    for channels in (2, 3):
        soundfile.write(tmp_path / f"a/{channels}.wav", np.full((90, channels), 0.1), 8000)
    source = FolderSource.audio(tmp_path, "all", channels=2, on_error="mask")
    assert source.unreadable == {
        "a/3.wav": "has 3 channels, not 2 as asked; leave it out, or set channels=3 for all files"
    }
