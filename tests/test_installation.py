"""A checkout that is not installed, or whose dependencies are missing, says so in one sentence before anything else."""

import os
import shutil
import subprocess
import sys
import tomllib
from collections.abc import Sequence
from importlib.metadata import packages_distributions
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from fcnjax.installation import NEEDED

ROOT = Path(__file__).parent.parent
LACKING = ("ml_collections", "grain")


@pytest.fixture(scope="module")
def checkout(tmp_path_factory) -> Path:
    """A copy of the checkout, in a folder that no interpreter knows."""
    folder = tmp_path_factory.mktemp("checkout")
    ignored = shutil.ignore_patterns("__pycache__", "results")
    for name in ("fcnjax", "experiments", "configs"):
        shutil.copytree(ROOT / name, folder / name, ignore=ignored)
    shutil.copy(ROOT / "pyproject.toml", folder)
    return folder


@pytest.fixture(scope="module")
def dependencies(tmp_path_factory) -> list[Path]:
    """Folders that hold what is installed here except this package: links to its modules and their metadata.

    There is one for each folder that has packages, since two of them may hold parts of one namespace.
    """
    sites = [site for site in map(Path, sys.path) if site != ROOT and site.is_dir() and any(site.glob("*.dist-info"))]
    folder = tmp_path_factory.mktemp("dependencies")
    return [link(site, folder / str(number), "fcnjax") for number, site in enumerate(sites)]


def link(site: Path, folder: Path, lacking: str) -> Path:
    """Makes `folder`, with links to what is in `site` but for what bears the name `lacking`, and returns it."""
    folder.mkdir()
    for entry in site.iterdir():
        if lacking not in entry.name and entry.suffix != ".pth":
            (folder / entry.name).symlink_to(entry.resolve())
    return folder


def run(checkout: Path, paths: Sequence[Path], *arguments: str) -> subprocess.CompletedProcess[str]:
    """Runs Python in the copy with the modules of `paths`; with -S, it does not see what is installed."""
    environ = {"PATH": "", "JAX_PLATFORMS": "cpu", "PYTHONPATH": os.pathsep.join(map(str, paths))}
    command = [sys.executable, "-S", *arguments]
    return subprocess.run(command, cwd=checkout, env=environ, capture_output=True, text=True, timeout=120)


def assert_refused(done: subprocess.CompletedProcess[str], sentence: str, checkout: Path) -> None:
    assert done.returncode == 2, done.stderr
    assert sentence in done.stderr
    assert f"-m pip install -e .' in {checkout.resolve()}." in done.stderr
    assert done.stderr.count("\n") == 1, done.stderr
    assert not done.stdout


@pytest.mark.parametrize(
    "arguments",
    [
        ("fcnjax", "train", "--config=configs/digits.py", "--workdir=run"),
        ("fcnjax", "bench", "layers"),
        ("experiments.head_ordering", "--workdir=run"),
    ],
)
def test_a_command_of_a_checkout_that_is_not_installed_is_refused_at_once(checkout, dependencies, arguments):
    done = run(checkout, dependencies, "-m", *arguments)
    assert_refused(done, "fcnjax: is not installed for ", checkout)
    assert not (checkout / "run").exists()


def test_training_from_python_without_an_installation_is_refused_before_data_are_read(checkout, dependencies):
    recipe = "Recipe.from_config({'data': {'name': 'any_size_digits'}})"
    script = f"import fcnjax; from fcnjax.training import Recipe; fcnjax.train({recipe}, 'run')"
    done = run(checkout, dependencies, "-c", script)
    last = done.stderr.splitlines()[-1]
    assert last.startswith("fcnjax.installation.NotInstalledError: fcnjax: is not installed for ")
    assert not (checkout / "run").exists()


def test_what_needs_no_version_works_without_an_installation(checkout, dependencies):
    script = "import fcnjax; from flax import nnx; from fcnjax import models; print(sorted(models.MODELS)[0])"
    assert run(checkout, dependencies, "-c", script).stdout == "all_cnn_c\n"


@pytest.mark.parametrize("module", ["fcnjax", "fcnjax.bench.gpu", "experiments.head_ordering"])
def test_a_command_without_any_dependency_names_one(checkout, module):
    done = run(checkout, [], "-m", module, "--help")
    assert_refused(done, "fcnjax: needs the package of the module ", checkout)


def test_a_module_of_every_dependency_is_looked_for():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    wanted = {canonicalize_name(Requirement(line).name) for line in project["dependencies"]}
    holders = packages_distributions()
    assert {canonicalize_name(name) for module in NEEDED for name in holders[module]} & wanted == wanted
    assert len(NEEDED) == len(wanted)


@pytest.mark.parametrize("lacking", LACKING)
def test_the_missing_dependency_is_named_to_commands_and_to_python(checkout, dependencies, tmp_path, lacking):
    paths = [link(site, tmp_path / site.name, lacking) for site in dependencies]
    sentence = f"fcnjax: needs the package of the module {lacking!r}, which is not installed for "
    assert_refused(run(checkout, paths, "-m", "fcnjax", "--help"), sentence, checkout)
    done = run(checkout, paths, "-c", "import fcnjax")
    assert done.returncode == 1
    assert done.stderr.splitlines()[-1].startswith(f"fcnjax.installation.NotInstalledError: {sentence}")
