"""The wheel and the sdist, built here and used without the checkout."""

import os
import shutil
import subprocess
import sys
import tarfile
import tomllib
import zipfile
from pathlib import Path

import pytest

from fcnjax import xla

ROOT = Path(__file__).parent.parent
SETUPTOOLS = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["setuptools"]
LEFT_OUT = shutil.ignore_patterns("__pycache__", "*.egg-info", ".*_cache", ".hypothesis", ".venv*", "build", "runs")
BUILD = "import sys; from setuptools import build_meta; print(getattr(build_meta, sys.argv[1])(sys.argv[2]))"
SMALL = ("--config.epochs=1", "--config.model.channels=(4,4)", "--config.max_buckets=1")


def files(*folders: str) -> set[str]:
    """Returns the files below folders of the checkout, relative to it, but for what Python leaves there."""
    found = (path for folder in folders for path in (ROOT / folder).rglob("*") if path.is_file())
    return {str(path.relative_to(ROOT)) for path in found if "__pycache__" not in path.parts}


def build(kind: str, project: Path, folder: Path) -> Path:
    """Builds a wheel or an sdist of a project in a folder, as pip does, and returns its path."""
    command = [sys.executable, "-W", "ignore", "-c", BUILD, f"build_{kind}", str(folder)]
    done = subprocess.run(command, cwd=project, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return folder / done.stdout.splitlines()[-1]


@pytest.fixture(scope="module")
def sdist(tmp_path_factory) -> Path:
    pytest.importorskip("setuptools", minversion="77", reason="builds with the setuptools that is installed")
    folder = tmp_path_factory.mktemp("sdist")
    shutil.copytree(ROOT, folder / "checkout", ignore=lambda path, names: {*LEFT_OUT(path, names), ".git"})
    return build("sdist", folder / "checkout", folder)


@pytest.fixture(scope="module")
def unpacked(sdist) -> Path:
    """The folder of the unpacked sdist."""
    with tarfile.open(sdist) as archive:
        archive.extractall(sdist.parent, filter="data")
    return sdist.parent / sdist.name.removesuffix(".tar.gz")


@pytest.fixture(scope="module")
def wheel(unpacked, tmp_path_factory) -> Path:
    """A wheel, built from the sdist."""
    return build("wheel", unpacked, tmp_path_factory.mktemp("wheel"))


def test_every_package_is_listed():
    found = {path.parent.relative_to(ROOT) for path in (ROOT / "fcnjax").rglob("*.py")}
    assert sorted(SETUPTOOLS["packages"]) == sorted([*(".".join(path.parts) for path in found), "fcnjax.configs"])
    assert SETUPTOOLS["package-dir"]["fcnjax.configs"] == "configs"


def test_the_sdist_holds_all_that_its_tests_need(unpacked):
    held = {str(path.relative_to(unpacked)) for path in unpacked.rglob("*") if path.is_file()}
    single = {"Makefile", "README.md", "CONTRIBUTING.md", "CHANGELOG.md", "LICENSE", "pyproject.toml", ".ci/run"}
    assert single <= held
    assert files("fcnjax", "tests", "configs", "constraints", "experiments") <= held
    assert not [name for name in held if "__pycache__" in name]


def test_the_wheel_holds_the_package_its_types_and_the_configs(wheel):
    held = set(zipfile.ZipFile(wheel).namelist())
    wanted = files("fcnjax") | {f"fcnjax/{name}" for name in files("configs")}
    assert {name for name in held if ".dist-info/" not in name} == wanted
    assert "fcnjax/py.typed" in held


def test_the_wheel_reads_its_configs_from_any_folder(wheel, tmp_path):
    """Unpacked, as pip installs it, in a folder that stands before all others in the search path."""
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(tmp_path / "site")
    script = "import fcnjax; from fcnjax.commands.main import main; assert main({}) == 0; print(fcnjax.__file__)"
    for config in ("fcnjax:digits", "fcnjax:digits:resnet_cifar"):
        arguments = ["fcnjax", "inspect", f"--config={config}", "--size=28x28"]
        command = [sys.executable, "-c", script.format(arguments)]
        environ = os.environ | {"PYTHONPATH": str(tmp_path / "site"), "TFDS_DATA_DIR": str(tmp_path / "data")}
        done = subprocess.run(command, cwd=tmp_path, env=environ, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        assert done.stdout.splitlines()[-1] == str(tmp_path / "site/fcnjax/__init__.py")
        assert "input 28x28" in done.stdout
        assert ("stage3" in done.stdout) == config.endswith("resnet_cifar")


def run(command: list[str], folder: Path) -> str:
    """Runs a command without the variables that lead to this checkout, and returns what it prints."""
    environ = {name: value for name, value in os.environ.items() if name not in ("PYTHONPATH", xla.FLAGS)}
    done = subprocess.run(command, cwd=folder, env=environ, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.mark.long
def test_an_installed_wheel_trains_from_an_empty_folder(wheel, tmp_path):
    """In a new environment, with the oldest versions; pip needs the network or a cache."""
    run([sys.executable, "-m", "venv", "environment"], tmp_path)
    programs, elsewhere = tmp_path / "environment" / "bin", tmp_path / "elsewhere"
    elsewhere.mkdir()
    limits = ["--constraint", str(ROOT / "constraints/oldest.txt")] if sys.version_info < (3, 12) else []
    run([str(programs / "python"), "-m", "pip", "install", "--quiet", *limits, str(wheel)], elsewhere)
    data = f"--config.data.data_dir={tmp_path / 'data'}"
    said = run([str(programs / "fcnjax"), "train", "--config=fcnjax:digits", data, "--workdir=run", *SMALL], elsewhere)
    assert "test accuracy" in said
    assert "test accuracy" in run([str(programs / "fcnjax"), "evaluate", "--workdir=run"], elsewhere)
    where = run([str(programs / "python"), "-c", "import fcnjax; print(fcnjax.__file__)"], elsewhere)
    assert where.startswith(str(tmp_path))
    assert (Path(where.strip()).parent / "py.typed").is_file()


@pytest.mark.long
def test_the_sdist_runs_its_tests(unpacked):
    """Those that read files beside the package, those of an experiment, and those of a layer, for the contract."""
    tests = ["tests/test_rooms.py", "tests/test_dependencies.py", "tests/configs", "tests/experiments"]
    tests += ["tests/layers/test_composition.py", "README.md"]
    environ = {name: value for name, value in os.environ.items() if name != xla.FLAGS}
    command = [sys.executable, "-m", "pytest", "-q", "-n0", "-p", "no:cacheprovider", *tests]
    environ["PYTHONPATH"] = str(unpacked)
    done = subprocess.run(command, cwd=unpacked, env=environ, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout[-4000:]
    assert " passed" in done.stdout
