"""One prepared data set per test session and worker, and the size lists of published data sets."""

import os
from pathlib import Path

import numpy as np
import pytest

from fcnjax.data import TfdsSource, load_source


@pytest.fixture(scope="session")
def data_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("data_sets")


@pytest.fixture(scope="session")
def digits(data_dir: Path) -> dict[str, TfdsSource]:
    return {split: load_source("any_size_digits", split, data_dir) for split in ("train", "validation", "test")}


@pytest.fixture(scope="session")
def fixed_digits(data_dir: Path) -> dict[str, TfdsSource]:
    name = "any_size_digits/fixed_28x28"
    return {split: load_source(name, split, data_dir) for split in ("train", "validation", "test")}


@pytest.fixture(scope="session")
def shared_data(request: pytest.FixtureRequest) -> Path:
    """Folder of data sets that are not part of the repository; a test is skipped if the folder lacks its data set."""
    return Path(os.environ.get("FCNJAX_SHARED_DATA", request.config.rootpath.parent / "shared" / "data"))


@pytest.fixture
def published_sizes(request: pytest.FixtureRequest, shared_data: Path) -> np.ndarray:
    """Size table [N, D] of a published data set, named by indirect parametrization."""
    path = shared_data / "sizes" / f"{request.param}.csv"
    if not path.exists():
        pytest.skip(f"no size list {path}; FCNJAX_SHARED_DATA names the folder that holds sizes/")
    return np.loadtxt(path, delimiter=",", skiprows=1, dtype=np.int64, ndmin=2)
