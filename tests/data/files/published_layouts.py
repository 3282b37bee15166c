"""Small synthetic data sets in the shapes in which well-known ones are published: their folders, names and tables."""

import csv
from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np
import soundfile
from PIL import Image


def gtsrb(root: Path) -> None:
    """German Traffic Sign Recognition: PPM files in class folders, 3 frames a track; tables with ";"."""
    for label in range(3):
        folder = f"Final_Training/Images/{label:05}"
        names = [f"{track:05}_{frame:05}.ppm" for track in range(5) for frame in range(3)]
        for name in names:
            _image(root / folder / name, label, "RGB")
        _table(root / folder / f"GT-{label:05}.csv", ("Filename", "Width", "ClassId"), [(n, 12, label) for n in names])
    tested = [(f"{number:05}.ppm", 12, number % 3) for number in range(6)]
    for name, _, label in tested:
        _image(root / "Final_Test/Images" / name, label, "RGB")
    _table(root / "Final_Test/Images/GT-final_test.csv", ("Filename", "Width", "ClassId"), tested)
    _table(root / "Final_Test/Images/GT-final_test.test.csv", ("Filename", "Width"), [row[:2] for row in tested])


def urban_sound(root: Path) -> None:
    """UrbanSound8K: recordings in audio/fold1 to fold10, classes and folds in metadata/UrbanSound8K.csv."""
    rows = []
    for fold in range(1, 11):
        for label, name in enumerate(("dog_bark", "siren")):
            for take in range(2):
                file = f"{1000 + fold}-{label}-0-{take}.wav"
                _recording(root / f"audio/fold{fold}" / file, 300 + 200 * label)
                rows.append((file, 1000 + fold, fold, label, name))
    header = ("slice_file_name", "fsID", "fold", "classID", "class")
    _table(root / "metadata/UrbanSound8K.csv", header, rows, ",")


def speech_commands(root: Path) -> None:
    """Speech Commands: a folder for each word, two lists, and a folder of background noise."""
    lists: dict[str, list[str]] = {"validation": [], "testing": []}
    for label, word in enumerate(("yes", "no", "stop")):
        for speaker in range(7):
            name = f"{word}/{speaker:08x}_nohash_0.wav"
            _recording(root / name, 300 + 200 * label)
            if speaker >= 5:
                lists["validation" if speaker == 5 else "testing"].append(name)
    _recording(root / "_background_noise_/running_tap.wav", 50)
    for name, lines in lists.items():
        (root / f"{name}_list.txt").write_text("\n".join(lines) + "\n")


def tiny_imagenet(root: Path) -> None:
    """Tiny ImageNet: train/CLASS/images, val/images with val_annotations.txt, test/images without labels."""
    rows = []
    for label, wnid in enumerate(("n01443537", "n01629819")):
        for index in range(12):
            _image(root / "train" / wnid / "images" / f"{wnid}_{index}.JPEG", label, "RGB")
        (root / "train" / wnid / f"{wnid}_boxes.txt").write_text(f"{wnid}_0.JPEG\t0\t0\t9\t9\n")
        for index in range(3):
            name = f"val_{3 * label + index}.JPEG"
            _image(root / "val/images" / name, label, "RGB")
            rows.append((name, wnid, 0, 0, 9, 9))
        _image(root / "test/images" / f"test_{label}.JPEG", label, "RGB")
    _table(root / "val/val_annotations.txt", None, rows, "\t")


def pets(root: Path) -> None:
    """Oxford-IIIT Pet: all images in one folder, breeds with underscores in their names, two lists of stems."""
    breeds = ("Abyssinian", "american_bulldog", "american_pit_bull_terrier")
    stems: dict[str, list[str]] = {"trainval": [], "test": []}
    for label, breed in enumerate(breeds):
        for index in range(1, 13):
            _image(root / "images" / f"{breed}_{index}.jpg", label, "RGB")
            stems["test" if index > 10 else "trainval"].append(f"{breed}_{index} {label + 1} 2 {label}")
        (root / "images" / f"{breed}_100.mat").write_bytes(b"MATLAB 5.0")
    _image(root / "annotations/trimaps/Abyssinian_1.png", 0, "L")
    for name, lines in stems.items():
        (root / "annotations" / f"{name}.txt").write_text("\n".join(lines) + "\n")


def chest_xrays(root: Path) -> None:
    """NIH ChestX-ray: gray images in numbered folders, findings and patients in Data_Entry_2017.csv, two lists."""
    rows, lists = [], {"train_val": [], "test": []}
    for patient in range(1, 13):
        for visit in range(3):
            name, finding = f"{patient:08}_{visit:03}.png", ("No Finding", "Effusion")[patient % 2]
            finding = "Effusion|Mass" if (patient, visit) == (11, 2) else finding
            _image(root / f"images_{1 + patient // 7:03}/images" / name, patient % 2, "L")
            rows.append((name, finding, visit, patient))
            lists["test" if patient > 10 else "train_val"].append(name)
    _table(root / "Data_Entry_2017.csv", ("Image Index", "Finding Labels", "Follow-up #", "Patient ID"), rows, ",")
    for name, lines in lists.items():
        (root / f"{name}_list.txt").write_text("\n".join(lines) + "\n")


LAYOUTS = {
    "GTSRB": gtsrb,
    "UrbanSound8K": urban_sound,
    "speech_commands": speech_commands,
    "tiny-imagenet-200": tiny_imagenet,
    "pets": pets,
    "CXR8": chest_xrays,
}


def _image(path: Path, label: int, mode: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    draw = np.random.default_rng(list(path.name.encode()))
    pixels = draw.integers(0, 90, (12, 10 + label, 3), np.uint8) + np.uint8(60 * label)
    Image.fromarray(pixels).convert(mode).save(path)


def _recording(path: Path, pitch: int) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    length = 1600 + 10 * (sum(path.name.encode()) % 40)
    soundfile.write(path, 0.3 * np.sin(2 * np.pi * pitch * np.arange(length) / 8000), 8000)


def _table(path: Path, header: Sequence[str] | None, rows: Iterable[Sequence[object]], delimiter: str = ";") -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", newline="") as stream:
        writer = csv.writer(stream, delimiter=delimiter)
        writer.writerows([*([header] if header else []), *rows])
