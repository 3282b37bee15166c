"""Observations on disk: bit for bit what was saved, and a changed byte is found."""

import numpy as np
import pytest

from fcnjax import atomic, lab
from fcnjax.sealed import DamagedFile


def make_observation(**changes) -> lab.Observation:
    rng = np.random.default_rng(0)
    given = {
        "arm": "gap",
        "seed": 3,
        "fold": 1,
        "key": "0a1b",
        "ids": np.arange(5) + 2**30,
        "values": {"accuracy": np.array([1.0, 0, 1, np.nan, 1]), "log loss, ä/b": rng.normal(size=5)},
        "numbers": {"logits differ, conv": 1.5e-15, "not measured": float("nan")},
        "losses": rng.normal(size=7),
        "labels": np.arange(5, dtype=np.int32) % 3,
        "sizes": rng.integers(1, 9, size=(5, 2)).astype(np.int32),
        "facts": {"versions": "jax 1"},
    }
    return lab.Observation(**{**given, **changes})


def test_save_and_load_are_exact(tmp_path):
    saved = make_observation()
    path = saved.save(tmp_path / "deep" / "a.npz")
    loaded = lab.Observation.load(path)
    for name in ("arm", "seed", "fold", "key", "facts"):
        assert getattr(loaded, name) == getattr(saved, name)
    assert repr(loaded.numbers) == repr(saved.numbers)  # NaN is not equal to itself
    for name in ("ids", "losses", "labels", "sizes"):
        before, after = getattr(saved, name), getattr(loaded, name)
        assert (before.dtype, before.tobytes()) == (after.dtype, after.tobytes())
    assert list(loaded.values) == list(saved.values)
    for metric, values in saved.values.items():
        assert loaded.values[metric].tobytes() == values.tobytes()
    assert [file.name for file in path.parent.iterdir()] == ["a.npz"]
    assert make_observation().save(tmp_path / "b.npz").read_bytes() == path.read_bytes()


@pytest.mark.parametrize("place", [0, 100, -100, -1])
def test_a_changed_byte_and_a_cut_file_are_found(tmp_path, place):
    path = make_observation().save(tmp_path / "a.npz")
    content = bytearray(path.read_bytes())
    content[place] ^= 1
    path.write_bytes(content)
    message = r"a\.npz: is damaged \(its content does not match its checksum\); it must be measured again\."
    with pytest.raises(DamagedFile, match=message):
        lab.Observation.load(path)
    path = make_observation().save(tmp_path / "a.npz")
    path.write_bytes(path.read_bytes()[: place or 10])
    with pytest.raises(DamagedFile, match=message):
        lab.Observation.load(path)


def test_an_interrupted_save_leaves_the_former_file(tmp_path, monkeypatch):
    path = make_observation().save(tmp_path / "a.npz")
    before = path.read_bytes()

    def interrupt(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(atomic.os, "replace", interrupt)
    with pytest.raises(KeyboardInterrupt):
        make_observation(seed=4).save(path)
    assert path.read_bytes() == before
    assert [file.name for file in tmp_path.iterdir()] == ["a.npz"]


def test_a_missing_file_is_missing(tmp_path):
    with pytest.raises(FileNotFoundError):
        lab.Observation.load(tmp_path / "absent.npz")
