"""TFDS data sets of a few examples with the features of the catalog, prepared without TensorFlow."""

import io
import json
from pathlib import Path

import numpy as np
import tensorflow_datasets as tfds
from PIL import Image

MODES = ("RGB", "L", "P", "CMYK")
CLASSES = ("ant", "bee", "cat")


def photo(index: int) -> bytes:
    """An image file of one color; the modes rotate, and the height, 10 + index, identifies the image."""
    image = Image.new("RGB", (30 - index, 10 + index), (200, 40, 10 * index)).convert(MODES[index % 4])
    content = io.BytesIO()
    image.save(content, "PNG" if MODES[index % 4] == "P" else "JPEG")
    return content.getvalue()


def samples(index: int) -> np.ndarray:
    """Noise of 16-bit samples; the length, 100 + index, identifies the signal."""
    return np.random.default_rng(index).integers(-(2**15), 2**15, 100 + index).astype(np.int16)


class TinyPhotos(tfds.core.GeneratorBasedBuilder):
    """Encoded images, with features that are not used."""

    name = "tiny_photos"
    VERSION = tfds.core.Version("1.0.0")

    def _info(self) -> tfds.core.DatasetInfo:
        features = tfds.features.FeaturesDict(
            {
                "image": tfds.features.Image(),
                "label": tfds.features.ClassLabel(names=CLASSES),
                "segmentation_mask": tfds.features.Image(shape=(None, None, 1)),
                "file_name": tfds.features.Text(),
            }
        )
        return tfds.core.DatasetInfo(builder=self, features=features)

    def _split_generators(self, dl_manager):
        return {"train": self._generate_examples(range(12)), "test": self._generate_examples(range(12, 17))}

    def _generate_examples(self, indices):
        for index in indices:
            yield (
                index,
                {
                    "image": io.BytesIO(photo(index)),
                    "label": index % 3,
                    "segmentation_mask": io.BytesIO(b"not an image"),  # decoding it would be an error
                    "file_name": str(index),
                },
            )


class BrokenPhotos(TinyPhotos):
    """One image whose file is truncated."""

    name = "broken_photos"

    def _split_generators(self, dl_manager):
        return {"train": self._broken()}

    def _broken(self):
        for key, record in self._generate_examples(range(1)):
            content = record["image"].getvalue()
            yield key, record | {"image": io.BytesIO(content[:-12])}


class FailingPhotos(TinyPhotos):
    """Fails when the first split is written."""

    name = "failing_photos"

    def _split_generators(self, dl_manager):
        return {"train": self._generate_examples(range(3)), "test": self._fail()}

    def _fail(self):
        yield from self._generate_examples(range(2))
        raise OSError("disk is full")


class TinySounds(tfds.core.GeneratorBasedBuilder):
    """Audio samples, in the form in which an audio feature stores them."""

    name = "tiny_sounds"
    VERSION = tfds.core.Version("1.0.0")

    def _info(self) -> tfds.core.DatasetInfo:
        audio = tfds.features.Tensor(shape=(None,), dtype=np.int16)
        features = tfds.features.FeaturesDict({"audio": audio, "label": tfds.features.ClassLabel(num_classes=2)})
        return tfds.core.DatasetInfo(builder=self, features=features)

    def _split_generators(self, dl_manager):
        return {"train": self._generate_examples(range(6))}

    def _generate_examples(self, indices):
        for index in indices:
            yield index, {"audio": samples(index), "label": index % 2}


def declare_audio(folder: Path) -> None:
    """Turns the tensor `audio` of a prepared folder into the audio feature that TFDS writes with TensorFlow."""
    path = folder / "features.json"
    features = json.loads(path.read_text())
    features["featuresDict"]["features"]["audio"] = {
        "pythonClassName": "tensorflow_datasets.core.features.audio_feature.Audio",
        "audio": {
            "dtype": "int16",
            "encoding": "NONE",
            "fileFormat": "wav",
            "sampleRate": "8000",
            "shape": {"dimensions": ["-1"]},
        },
    }
    path.write_text(json.dumps(features))
