"""Folders of intact and damaged files, end to end; Pillow and soundfile themselves judge each damaged file."""

import pickle
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
import soundfile
from damaged_files import pillow_decodes, soundfile_decodes, write_damaged
from PIL import Image

from fcnjax.data import EpochPlan, FolderSource, UnreadableExample, load_batches, plan_buckets

RNG = np.random.default_rng(0)


def write_image(file: Path, height: int, width: int, mode: str = "RGB") -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    noise = RNG.integers(0, 256, (height, width, 3), np.uint8)
    Image.fromarray(noise).convert(mode).save(file)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    for split, count in (("train", 6), ("test", 3)):
        for label in ("cat", "dog"):
            for index in range(count):
                write_image(tmp_path / "root" / split / label / f"{index}.png", 5 + index, 9 - index)
    write_image(tmp_path / "root" / "train" / "eel" / "0.jpg", 160, 80)
    return tmp_path / "root"


def test_splits_agree_on_classes_and_share_no_id(root, tmp_path):
    train = FolderSource.images(root, "train")
    test = FolderSource.images(root, "test")
    assert (len(train), len(test)) == (13, 6)
    assert train.class_names == test.class_names == ("cat", "dog", "eel")
    assert len({*train.ids.tolist(), *test.ids.tolist()}) == 19
    assert train.ids.dtype == np.int32
    again = FolderSource.images(root, "train[:50%]+test", cache_dir=tmp_path / "cache")
    ids = dict(zip((*train.names, *test.names), (*train.ids, *test.ids), strict=True))
    assert [ids[name] for name in again.names] == again.ids.tolist()


def test_each_example_is_its_file(root):
    source = FolderSource.images(root, "all")
    for index, name in enumerate(source.names):
        example = source[index]
        with Image.open(root / name) as image:
            np.testing.assert_array_equal(example.values, np.asarray(image))
        assert example.values.shape == (*source.sizes[index], source.channels)
        assert (example.id, example.label) == (source.ids[index], source.labels[index])
        assert source.class_names[example.label] == name.split("/")[1]


def test_channels_are_those_of_the_whole_root(tmp_path):
    write_image(tmp_path / "train/a/1.png", 4, 4, "L")
    write_image(tmp_path / "train/b/1.png", 4, 4, "L")
    assert FolderSource.images(tmp_path, "train").channels == 1
    assert FolderSource.images(tmp_path, "train", channels=3)[0].values.shape == (4, 4, 3)
    write_image(tmp_path / "test/b/2.png", 4, 4, "RGB")
    train = FolderSource.images(tmp_path, "train")
    assert train.channels == 3
    assert train[0].values.shape == (4, 4, 3)


def test_read_gives_a_smaller_jpeg_and_everything_else_natively(root):
    source = FolderSource.images(root, "train")
    jpeg = source.names.index("train/eel/0.jpg")
    assert source.read(jpeg, at_least=(30, 20)).values.shape == (40, 20, 3)
    assert source.read(0, at_least=(1, 1)).values.shape == source[0].values.shape


def test_it_survives_pickling_and_threads(root):
    source = FolderSource.images(root, "all")
    copy = pickle.loads(pickle.dumps(source))
    with ThreadPoolExecutor(4) as pool:
        read = list(pool.map(copy.__getitem__, [*range(len(copy))] * 5))
    for index, example in enumerate(read):
        expected = source[index % len(source)]
        assert (example.id, example.label) == (expected.id, expected.label)
        np.testing.assert_array_equal(example.values, expected.values)


def test_the_loader_takes_it(root):
    source = FolderSource.images(root, "train")
    plan = EpochPlan(source.sizes, plan_buckets(source.sizes, max_buckets=2), batch_size=4, seed=0)
    seen = [
        example
        for _, batch in load_batches(source, plan, mean=0.5, std=0.25, stop_step=plan.steps_per_epoch, threads=2)
        for example in batch.ids.tolist()
        if example >= 0
    ]
    assert set(seen) == set(source.ids.tolist())


def test_refusing_lists_every_bad_file_at_once(root, tmp_path):
    for index in range(25):
        (root / "train" / "cat" / f"bad{index:02}.png").write_bytes(b"no image")
    (root / "test" / "cat" / "bad.png").write_bytes(b"")
    with pytest.raises(
        ValueError, match=r"25 of 38 files of split 'train'.*leave them out with on_error=mask"
    ) as caught:
        FolderSource.images(root, "train", cache_dir=tmp_path / "cache")
    lines = str(caught.value).splitlines()
    (line,) = lines[1:]
    assert line.startswith("  train/cat/bad00.png, train/cat/bad01.png, train/cat/bad02.png and 22 more: not an image")
    (complete,) = (tmp_path / "cache").glob("unreadable-*.txt")
    assert str(complete) in lines[0]
    assert len(complete.read_text().splitlines()) == 25
    with pytest.raises(ValueError, match="1 of 7 files of split 'test'.*\n.*test/cat/bad.png: an empty file"):
        FolderSource.images(root, "test")


def test_masking_leaves_bad_files_out_and_names_them(root):
    (root / "train" / "cat" / "bad.png").write_bytes(b"no image")
    cut = root / "train" / "cat" / "cut.png"
    write_image(cut, 40, 40)
    cut.write_bytes(cut.read_bytes()[:-3000])  # the header is intact
    source = FolderSource.images(root, "train", on_error="mask")
    assert list(source.unreadable) == ["train/cat/bad.png"]
    assert len(source) == 14
    assert "train/cat/bad.png" not in source.names
    with pytest.raises(UnreadableExample, match=r"^train/cat/cut\.png: ") as caught:
        source[source.names.index("train/cat/cut.png")]
    assert caught.value.name == "train/cat/cut.png"
    verified = FolderSource.images(root, "train", on_error="mask", verify=True)
    assert list(verified.unreadable) == ["train/cat/bad.png", "train/cat/cut.png"]
    assert set(verified.ids) < set(source.ids)
    with pytest.raises(ValueError, match=r"train/cat/bad\.png[\s\S]*train/cat/cut\.png"):
        FolderSource.images(root, "train")


def test_a_split_of_bad_files_only_is_refused_even_when_masking(tmp_path):
    write_image(tmp_path / "a/1.png", 4, 4)
    (tmp_path / "b").mkdir()
    (tmp_path / "b/1.png").write_bytes(b"no image")
    with pytest.raises(ValueError, match=r"1 of 1 files of split 'b/\*' cannot be read. Repair them, or name a folder"):
        FolderSource.images(tmp_path, "b/*", on_error="mask")


@pytest.mark.parametrize(
    ("make", "says"),
    [
        (lambda root: FolderSource.images(root, "train", on_error="ignore"), "unknown on_error 'ignore'.*mask, refuse"),
        (lambda root: FolderSource.images(root, "train", channels=0), "channels=0: must be"),
        (lambda root: FolderSource.audio(root, "train", sample_rate=0), "sample_rate=0: must be"),
    ],
)
def test_arguments_out_of_range_are_named(root, make, says):
    with pytest.raises(ValueError, match=says):
        make(root)


def test_audio_comes_at_one_rate(tmp_path):
    for name, rate, length in (("yes_1.wav", 8000, 800), ("no_1.wav", 16000, 801), ("no_2.flac", 44100, 4410)):
        soundfile.write(tmp_path / name, np.zeros((length, 2)), rate)
    source = FolderSource.audio(tmp_path, "all", sample_rate=8000)
    assert source.class_names == ("no", "yes")
    assert source.names == ("no_1.wav", "no_2.flac", "yes_1.wav")
    assert source.sizes.tolist() == [[401], [800], [800]]
    assert [source[index].values.shape for index in range(3)] == [(401, 1), (800, 1), (800, 1)]


def test_recordings_have_their_official_split(shared_data):
    folder = shared_data / "free_spoken_digit" / "recordings"
    if not folder.is_dir():
        pytest.skip(f"no {folder}; FCNJAX_SHARED_DATA names the folder that holds free_spoken_digit")
    test = FolderSource.audio(folder, "*_[0-4].wav")
    train = FolderSource.audio(folder, "*_[5-9].wav+*_[1-4][0-9].wav")
    assert (len(train), len(test)) == (2700, 300)
    assert train.class_names == test.class_names == tuple("0123456789")
    assert not set(train.ids) & set(test.ids)
    assert np.bincount(test.labels).tolist() == [30] * 10


@pytest.fixture(scope="module")
def damaged(tmp_path_factory) -> tuple[Path, dict[str, bytes]]:
    root = tmp_path_factory.mktemp("damaged")
    return root, write_damaged(root, 500)


@pytest.mark.parametrize("kind", ["images", "audio"])
def test_500_damaged_files_are_each_decoded_or_named(damaged, kind, tmp_path, capfd):
    root, contents = damaged
    make = getattr(FolderSource, kind)
    verdict = pillow_decodes if kind == "images" else soundfile_decodes
    verdicts = {name: verdict(content) for name, content in contents.items()}
    masked = make(root, "all", on_error="mask", verify=True, cache_dir=tmp_path)
    assert {*masked.names, *masked.unreadable} == set(contents)
    for name, decodes in verdicts.items():
        if decodes is not None:
            assert decodes == (name in masked.names), (name, masked.unreadable.get(name))
    assert all(masked.unreadable.values())
    for index in range(len(masked)):
        assert masked[index].values.shape == (*masked.sizes[index], masked.channels)
    assert min(len(masked), len(masked.unreadable)) > 30  # both verdicts are tested

    with pytest.raises(ValueError, match=f"{len(masked.unreadable)} of 500 files"):
        make(root, "all", cache_dir=tmp_path)

    unverified = make(root, "all", on_error="mask")
    behind_a_sound_header = set()
    for index in range(len(unverified)):
        try:
            assert unverified[index].values.size
        except UnreadableExample as error:
            behind_a_sound_header.add(error.name)
    assert {*unverified.unreadable, *behind_a_sound_header} == set(masked.unreadable)
    assert behind_a_sound_header
    assert capfd.readouterr().err == ""
