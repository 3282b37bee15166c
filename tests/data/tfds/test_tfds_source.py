import importlib.util
import io
import os
import pickle
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from tiny_builders import CLASSES, BrokenPhotos, FailingPhotos, TinyPhotos, TinySounds, declare_audio, photo, samples

from fcnjax.data import TfdsSource, UnreadableExample, load_npz, load_source, save_npz
from fcnjax.data.files.folder_layout import Layout
from fcnjax.data.files.split_files import select
from fcnjax.data.tfds import tfds_source
from fcnjax.data.tfds.prepare import prepare
from fcnjax.data.tfds.records import open_prepared, prepared_folder


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("tiny")
    for builder in (TinyPhotos, BrokenPhotos, TinySounds):
        prepared = prepare(lambda builder=builder: builder(data_dir=folder, file_format="array_record"))
    declare_audio(Path(prepared.data_path))
    return folder


@pytest.fixture
def photos(folder: Path):
    """Opens a split of the photos as if for the first time."""
    path = prepared_folder("tiny_photos", folder)
    assert path is not None
    for table in path.glob(".fcnjax*"):
        table.unlink()

    def read(split: str = "train", **options) -> TfdsSource:
        return TfdsSource(open_prepared(path), split, **options)

    return read


def test_photos_are_what_was_encoded(photos):
    source = photos()
    assert (len(source), source.channels, source.class_names) == (12, 3, CLASSES)
    assert sorted(source.sizes.tolist()) == [[10 + index, 30 - index] for index in range(12)]
    for position, (height, width) in enumerate(source.sizes.tolist()):
        index = height - 10
        example = source[position]
        assert example.label == index % 3
        assert example.values.shape == (height, width, 3)
        assert example.values.dtype == np.uint8
        with Image.open(io.BytesIO(photo(index))) as image:
            np.testing.assert_array_equal(example.values, np.asarray(image.convert("RGB")))


def test_sizes_are_read_without_decoding(photos, folder, monkeypatch):
    def refuse(*arguments):
        raise AssertionError("decoded")

    monkeypatch.setattr(tfds_source, "decode_image", refuse)
    assert len(photos().sizes) == 12
    monkeypatch.undo()
    broken = load_source("broken_photos", "train", folder)
    assert broken.sizes.tolist() == [[10, 30]]
    with pytest.raises(UnreadableExample, match="broken_photos, split 'train', example 0: "):
        broken[0]


def test_the_size_table_is_read_once(photos, monkeypatch):
    first = photos("train[2:9]")

    def refuse(*arguments):
        raise AssertionError("read again")

    monkeypatch.setattr(tfds_source, "read_size", refuse)
    np.testing.assert_array_equal(photos("train[2:9]").sizes, first.sizes)
    with pytest.raises(AssertionError, match="read again"):
        photos("train[2:8]")


@pytest.mark.parametrize("content", [b"", b"not a zip", None])
def test_a_damaged_size_table_is_rebuilt(photos, folder, content):
    wanted = photos().sizes
    (table,) = prepared_folder("tiny_photos", folder).glob(".fcnjax*")
    if content is None:
        np.savez(table, sizes=wanted[:3], ids=np.arange(3))
    else:
        table.write_bytes(content)
    np.testing.assert_array_equal(photos().sizes, wanted)


def test_a_read_only_folder_is_not_an_error(photos, folder, monkeypatch):
    def refuse(*arguments):
        raise PermissionError("read-only")

    monkeypatch.setattr(tfds_source, "write_bytes", refuse)
    assert len(photos()) == 12
    assert not list(prepared_folder("tiny_photos", folder).glob(".fcnjax*"))


def test_ids_name_examples_within_the_data_set(photos):
    def by_id(*splits: str) -> dict[int, list[int]]:
        sources = [photos(split) for split in splits]
        assert sum(map(len, sources)) == len({example_id for source in sources for example_id in source.ids.tolist()})
        assert all(source[0].id == source.ids[0] for source in sources)
        pairs = [zip(source.ids.tolist(), source.sizes.tolist(), strict=True) for source in sources]
        return {example_id: size for pair in pairs for example_id, size in pair}

    whole = by_id("train", "test")
    assert len(whole) == 17
    assert by_id("train[:30%]", "train[30%:]", "test[1:]", "test[:1]") == whole
    assert by_id("train[5:]+test", "train[:5]") == whole


@pytest.mark.parametrize("split", ["train", "test"])
def test_slices_hold_as_many_examples_in_every_kind_of_source(photos, tmp_path, split):
    """12 and 5 examples; the reference is the arithmetic of TFDS itself."""
    infos = photos()._open().info.splits
    count = infos[split].num_examples
    layout = Layout(tuple(f"a/{index:02}.png" for index in range(count)), (0,) * count, ("a",))
    file = save_npz(tmp_path / "data.npz", [np.zeros((1, 1, 1), np.uint8)] * count, [0] * count, split=split)
    for percent in range(2, 100, 6):
        for bounds in (f"[:{percent}%]", f"[{percent}%:]", f"[{percent}%:99%]", f"[:{percent / 2}%]"):
            wanted = infos[split + bounds].num_examples
            if not wanted:
                continue
            assert len(photos(split + bounds)) == wanted
            assert len(load_npz(file, split + bounds)) == wanted
            assert len(select(tmp_path, layout, f"all{bounds}")) == wanted


def test_small_splits_are_kept_and_large_ones_decoded_again(photos):
    kept, large = photos(), photos(cache_bytes=5000)
    assert kept[3] is kept[3]
    assert large[3] is not large[3]
    np.testing.assert_array_equal(kept[3].values, large[3].values)


def test_worker_processes_and_threads_read_the_same(photos):
    source = photos()
    _ = source[0]
    copy = pickle.loads(pickle.dumps(source))
    assert len(pickle.dumps(source)) < 5000  # no decoded example is pickled
    np.testing.assert_array_equal(copy.sizes, source.sizes)
    with ThreadPoolExecutor(8) as pool:
        examples = list(pool.map(copy.__getitem__, list(range(12)) * 5))
    for index, example in enumerate(examples):
        np.testing.assert_array_equal(example.values, source[index % 12].values)


def test_audio_is_read_as_samples_of_full_scale_one(folder):
    source = load_source("tiny_sounds", "train", folder)
    assert source.channels == 1
    assert sorted(source.sizes[:, 0].tolist()) == list(range(100, 106))
    for position, (length,) in enumerate(source.sizes.tolist()):
        example = source[position]
        assert example.values.dtype == np.float32
        np.testing.assert_array_equal(example.values[:, 0] * 32768, samples(length - 100))
        assert example.label == (length - 100) % 2


def test_a_failed_preparation_leaves_nothing_under_the_name(tmp_path):
    with pytest.raises(OSError, match="disk is full"):
        prepare(lambda: FailingPhotos(data_dir=tmp_path, file_format="array_record"))
    assert prepared_folder("failing_photos", tmp_path) is None


def test_the_newest_version_and_the_noted_variant_are_found(tmp_path):
    for version in ("1.9.0", "1.10.0"):
        (tmp_path / "things" / "big" / version).mkdir(parents=True)
        (tmp_path / "things" / "big" / version / "features.json").touch()
    (tmp_path / "things" / "big" / "2.0.0").mkdir()  # without records
    assert prepared_folder("things", tmp_path) is None
    (tmp_path / "things" / ".config").mkdir()
    (tmp_path / "things" / ".config" / "metadata.json").write_text('{"default_config_name": "big"}')
    for name, version in (("things", "1.10.0"), ("things/big", "1.10.0"), ("things/big:1.9.0", "1.9.0")):
        assert prepared_folder(name, tmp_path) == tmp_path / "things" / "big" / version
    assert prepared_folder("things:3.0.0", tmp_path) is None


def test_what_is_not_prepared_says_how_to(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"mnist is not prepared in .*; run 'fcnjax prepare mnist --data_dir="):
        load_source("mnist", "train", tmp_path)


def test_unknown_names_list_the_nearest_of_the_catalog_only(tmp_path):
    with pytest.raises(ValueError, match="unknown data set 'caltech_101': did you mean 'caltech101'") as caught:
        load_source("caltech_101", "train", tmp_path)
    assert len(str(caught.value)) < 400


@pytest.mark.slow
@pytest.mark.skipif(importlib.util.find_spec("tensorflow") is None, reason="needs the extra catalog")
def test_mnist_is_prepared_from_its_files_and_read_without_tensorflow(request, tmp_path):
    shared = Path(os.environ.get("FCNJAX_SHARED_DATA", request.config.rootpath.parent / "shared" / "data")) / "mnist"
    if not shared.exists():
        pytest.skip(f"no folder {shared}; FCNJAX_SHARED_DATA names the folder that holds mnist/")
    command = [sys.executable, "-m", "fcnjax", "prepare", "mnist", f"--data_dir={tmp_path}"]
    subprocess.run([*command, f"--manual_dir={shared}"], check=True, cwd=request.config.rootpath)
    code = (
        "import sys\n"
        "from fcnjax.data import load_source\n"
        "for split in ('train', 'test'):\n"
        "    source = load_source('mnist', split, sys.argv[1])\n"
        "    print(len(source), source[0].values.shape, len(set(source.ids.tolist())), 'tensorflow' in sys.modules)\n"
    )
    read = subprocess.run([sys.executable, "-c", code, str(tmp_path)], capture_output=True, text=True, check=True)
    assert read.stdout == "60000 (28, 28, 1) 60000 False\n10000 (28, 28, 1) 10000 False\n"
