"""Which files are scanned, which come from the cache, and the reason given for each bad file."""

import errno
import os
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pytest
import soundfile
from PIL import Image

from fcnjax.data import FolderSource
from fcnjax.data.files.file_scan import AudioKind, ImageKind, scan_files


def write_image(file: Path, height: int, width: int) -> None:
    noise = np.random.default_rng(height * width).integers(0, 256, (height, width), np.uint8)
    Image.fromarray(noise).save(file)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    folder = tmp_path / "root"
    folder.mkdir()
    for index in range(70):  # more than two chunks
        write_image(folder / f"{index:02}.png", index + 1, 2 * index + 1)
    return folder


def names_in(root: Path) -> list[str]:
    return sorted(file.name for file in root.iterdir())


@dataclass(frozen=True)
class CountingKind(ImageKind):
    """An ImageKind that records what it reads."""

    headers: list[str] = field(default_factory=list)
    decoded: list[str] = field(default_factory=list)

    def header(self, file):
        self.headers.append(file.name)
        return super().header(file)

    def decode(self, file, channels, at_least=None):
        self.decoded.append(file.name)
        return super().decode(file, channels, at_least)


@pytest.mark.parametrize("verify", [False, True])
@pytest.mark.parametrize("threads", [1, 3, None])
def test_every_size_is_found_in_the_order_asked_for(root, verify, threads):
    names = names_in(root)[::-1]
    rows = scan_files(root, names, ImageKind(), verify=verify, threads=threads)
    assert list(rows) == names
    assert all(row.size == (int(name[:2]) + 1, 2 * int(name[:2]) + 1) for name, row in rows.items())
    assert {(row.channels, row.verified, row.reason) for row in rows.values()} == {(1, verify, "")}


def test_a_cache_hit_reads_no_file(root, tmp_path):
    names = names_in(root)
    first = scan_files(root, names, ImageKind(), cache_dir=tmp_path / "cache")
    for name in names:  # other content, with the same byte size and modification time
        status = (root / name).stat()
        (root / name).write_bytes(bytes(status.st_size))
        os.utime(root / name, ns=(status.st_atime_ns, status.st_mtime_ns))
    assert scan_files(root, names, ImageKind(), cache_dir=tmp_path / "cache") == first


def test_only_what_changed_is_scanned_again(root, tmp_path):
    kind = CountingKind()
    names, cache = names_in(root), tmp_path / "cache"
    scan_files(root, names[:60], kind, cache_dir=cache)
    assert sorted(kind.headers) == names[:60]
    kind.headers.clear()

    (root / names[0]).unlink()
    write_image(root / names[1], 5, 9)
    os.utime(root / names[2], ns=(0, 0))
    rows = scan_files(root, names[1:], kind, cache_dir=cache)
    assert sorted(kind.headers) == [names[1], names[2], *names[60:]]
    assert rows[names[1]].size == (5, 9)
    assert rows[names[2]].size == (3, 5)
    assert list(rows) == names[1:]


def test_verification_is_kept_and_counts_as_a_scan(root, tmp_path):
    kind = CountingKind()
    names, cache = names_in(root), tmp_path / "cache"
    scan_files(root, names, kind, cache_dir=cache)
    assert kind.decoded == []
    scan_files(root, names, kind, cache_dir=cache, verify=True)
    assert sorted(kind.decoded) == names
    kind.headers.clear()
    scan_files(root, names, kind, cache_dir=cache, verify=True)
    scan_files(root, names, kind, cache_dir=cache)
    assert sorted(kind.decoded) == names
    assert kind.headers == []


def test_other_settings_have_other_tables(tmp_path):
    import soundfile

    soundfile.write(tmp_path / "a.wav", np.zeros(100), 8000)
    for rate, length in ((None, 100), (16000, 200), (4000, 50)):
        rows = scan_files(tmp_path, ["a.wav"], AudioKind(rate), cache_dir=tmp_path / "cache")
        assert rows["a.wav"].size == (length,)


@pytest.mark.parametrize("damage", [b"", b"no zip file", None])
def test_a_damaged_cache_is_rebuilt(root, tmp_path, damage):
    names, cache = names_in(root), tmp_path / "cache"
    first = scan_files(root, names, ImageKind(), cache_dir=cache)
    (table,) = cache.iterdir()
    content = table.read_bytes()
    table.write_bytes(content[: len(content) // 2] if damage is None else damage)
    kind = CountingKind()
    assert scan_files(root, names, kind, cache_dir=cache) == first
    assert sorted(kind.headers) == names
    assert table.read_bytes() == content


def test_all_bad_files_are_found_with_their_reasons(root, tmp_path):
    names, cache = names_in(root), tmp_path / "cache"
    (root / names[5]).write_bytes(b"")
    (root / names[40]).write_bytes(b"text")
    whole = (root / names[60]).read_bytes()
    (root / names[60]).write_bytes(whole[: len(whole) // 2])
    for _ in range(2):  # scanned, then from the cache
        bad = {name: row for name, row in scan_files(root, names, ImageKind(), cache_dir=cache).items() if row.reason}
        assert list(bad) == [names[5], names[40]]
    assert bad[names[5]].reason == "an empty file"
    assert bad[names[5]].size == (0, 0)
    for _ in range(2):
        rows = scan_files(root, names, ImageKind(), cache_dir=cache, verify=True)
        assert [name for name, row in rows.items() if row.reason] == [names[5], names[40], names[60]]


def test_what_is_peculiar_is_noted_of_files_that_can_be_read(tmp_path):
    root = tmp_path / "data"
    rows = [np.zeros((9, 9, 3), np.uint8), np.full((9, 9, 3), 200, np.uint8)]
    first, second = map(Image.fromarray, rows)
    for label, ending in (("a", "gif"), ("a", "webp"), ("b", "tif"), ("b", "png")):
        (root / label).mkdir(parents=True, exist_ok=True)
        first.save(root / label / f"moves.{ending}", save_all=True, append_images=[second])
        first.save(root / label / f"still.{ending}")
    for _ in range(2):
        (note,) = FolderSource.images(root, "all", cache_dir=tmp_path / "cache", on_error="mask").notes
        said = "4 files of all hold several pages or frames, of which the first is read, such as a/moves.gif"
        assert note == said


def test_silence_is_noted_where_recordings_are_decoded(tmp_path):
    root = tmp_path / "data"
    for name, loudness in (("a/1", 0.5), ("a/2", 0), ("b/1", 1e-4), ("b/2", 0.01)):
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        soundfile.write(root / f"{name}.wav", loudness * np.sin(np.arange(400)), 8000)
    assert FolderSource.audio(root, "all", on_error="mask").notes == ()
    for split, said in (
        ("all", "2 files of all hold only silence, with all amplitudes below 0.001, such as a/2.wav"),
        ("a/*", "1 file of a/* holds only silence, with all amplitudes below 0.001, such as a/2.wav"),
    ):
        for _ in range(2):  # scanned, then from the cache
            assert FolderSource.audio(root, split, cache_dir=tmp_path / "cache").notes == (said,)


@dataclass(frozen=True)
class FailingKind(CountingKind):
    """A disk that fails at one file."""

    def header(self, file):
        if file.name == "69.png":
            raise OSError(errno.EIO, "Input/output error", str(file))
        return super().header(file)


def test_a_disk_that_fails_ends_the_scan_and_keeps_what_was_done(root, tmp_path):
    names, cache = names_in(root), tmp_path / "cache"
    with pytest.raises(OSError, match=r"69\.png"):
        scan_files(root, names, FailingKind(), cache_dir=cache, threads=1)
    kind = CountingKind()
    scan_files(root, names, kind, cache_dir=cache)
    assert sorted(kind.headers) == names[64:]  # two whole chunks of 32 were done
