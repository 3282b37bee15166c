"""The names that the package uses beyond the stable interfaces of its dependencies, and the versions that it allows.

`BORROWED` is the one list of private and experimental names. A release may drop them without notice; a test then names
the missing name and the files that use it.
"""

import ast
import pkgutil
import re
import sys
import tomllib
from collections.abc import Iterator
from importlib.metadata import packages_distributions, version
from pathlib import Path

import jax
import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from packaging.version import Version

import fcnjax

ROOT = Path(__file__).parent.parent
UNSTABLE = re.compile(r"(^|\.)(_\w+|experimental|core|v1|proto)(\.|$)")  # modules outside the stable interface
BORROWED = {  # module -> {name: files of the package that use it}
    "jaxlib._jax": {"CompileOptions": ["xla.py"]},  # tries XLA's flags; without it no flag is added
    "jax.core": {
        "Tracer": ["padded.py", "heads/flatten_dense.py", "models/classifier.py"],
    },
    "jax.experimental": {"multihost_utils": ["training/compile/mesh.py", "training/run/interruption.py"]},
    "jax.experimental.multihost_utils": {
        "process_allgather": ["training/compile/mesh.py"],
        "reached_preemption_sync_point": ["training/run/interruption.py"],
    },
    "jax.experimental.xla_metadata": {"set_xla_metadata": ["xla.py"]},  # without it: no fusion boundaries
    "orbax.checkpoint": {"v1": ["training/run/checkpoints.py"]},
    "orbax.checkpoint.v1": {
        "load": ["training/run/checkpoints.py"],
        "save": ["training/run/checkpoints.py"],
        "training": ["training/run/checkpoints.py"],
    },
    "orbax.checkpoint.v1.training": {
        "Checkpointer": ["training/run/checkpoints.py"],
        "preservation_policies": ["training/run/checkpoints.py"],
        "save_decision_policies": ["training/run/checkpoints.py"],
    },
    "tensorboardX.proto.event_pb2": {
        "Event": ["training/run/event_files.py"],
        "SessionLog": ["training/run/event_files.py"],
    },
    "tensorboardX.proto.summary_pb2": {"Summary": ["training/run/event_files.py"]},
    "tensorflow_datasets.core": {
        "read_only_builder": ["data/tfds/records.py"],
        "registered": ["data/tfds/prepare.py"],
        "tfds_path": ["data/tfds/prepare.py"],
    },
    "tensorflow_datasets.core.read_only_builder": {"builder_from_metadata": ["data/tfds/records.py"]},
    "tensorflow_datasets.core.registered": {"list_imported_builders": ["data/tfds/prepare.py"]},
    "tensorflow_datasets.core.dataset_info": {"read_proto_from_builder_dir": ["data/tfds/records.py"]},
    "tensorflow_datasets.core.proto": {"feature_pb2": ["data/tfds/records.py"]},
}
SETTINGS = (  # settings of jax.config, which defines them at run time
    "jax_compilation_cache_dir",
    "jax_compilation_cache_max_size",
    "jax_enable_compilation_cache",
    "jax_num_cpu_devices",
    "jax_persistent_cache_min_compile_time_secs",
    "jax_platforms",
)


def exists(path: str) -> bool:
    """Returns whether a dotted path names a module or an attribute of one."""
    try:
        pkgutil.resolve_name(path)
    except (ImportError, AttributeError):
        return False
    return True


def missing_names(borrowed) -> list[str]:
    """Returns one sentence for each name that the installed versions lack."""
    missing = []
    for module, names in borrowed.items():
        package = module.partition(".")[0]
        distribution = packages_distributions().get(package, [package])[0]
        for name, files in names.items():
            if not exists(f"{module}.{name}"):
                users = ", ".join(f"fcnjax/{file}" for file in files)
                missing.append(f"{module}.{name}: not in {distribution} {version(distribution)}; used by {users}.")
    return missing


def test_every_borrowed_name_exists():
    missing = missing_names(BORROWED)
    assert not missing, "\n".join(missing)


def test_a_missing_name_is_reported_with_its_version_and_use():
    (sentence,) = missing_names({"jax.experimental": {"no_such_module": ["a.py", "b.py"]}})
    assert sentence == (
        f"jax.experimental.no_such_module: not in jax {jax.__version__}; used by fcnjax/a.py, fcnjax/b.py."
    )


@pytest.mark.parametrize("name", SETTINGS)
def test_every_setting_of_jax_exists(name):
    assert hasattr(jax.config, name), f"jax.config.{name}: not in jax {jax.__version__}; see git grep {name} fcnjax."


def unstable_imports() -> Iterator[tuple[str, str]]:
    """Yields module and name of each import from outside the stable interface of a dependency."""
    for file in sorted((ROOT / "fcnjax").rglob("*.py")):
        for node in ast.walk(ast.parse(file.read_text())):
            if isinstance(node, ast.ImportFrom) and node.module and not node.module.startswith("fcnjax"):
                for alias in node.names:
                    if UNSTABLE.search(node.module) or UNSTABLE.search(f"{node.module}.{alias.name}"):
                        yield node.module, alias.name
            elif isinstance(node, ast.Import):
                yield from ((alias.name, "") for alias in node.names if UNSTABLE.search(alias.name))


def test_every_unstable_import_is_listed():
    imported = list(unstable_imports())
    assert len(imported) > 5
    unlisted = {f"{module}.{name}" for module, name in imported if name not in BORROWED.get(module, {})}
    assert not unlisted, f"{unlisted}: import from a stable module, or add it to BORROWED with the file that uses it"


def test_every_listed_file_uses_its_names():
    for module, names in BORROWED.items():
        for name, files in names.items():
            for file in files:
                text = (ROOT / "fcnjax" / file).read_text()
                assert re.search(rf"\b{name}\b", text), (
                    f"fcnjax/{file} does not use {module}.{name}: remove it from BORROWED"
                )


def pins(name: str) -> dict[str, Version]:
    """Returns the versions in a constraints file, by distribution."""
    lines = (ROOT / "constraints" / f"{name}.txt").read_text().splitlines()
    rows = (line.split("==") for line in lines if "==" in line)
    return {canonicalize_name(distribution): Version(pinned) for distribution, pinned in rows}


def requirements() -> list[Requirement]:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    extras = project["optional-dependencies"]
    return [Requirement(text) for text in (*project["dependencies"], *extras["dev"], *extras["oracle"])]


@pytest.mark.parametrize("requirement", requirements(), ids=lambda requirement: requirement.name)
def test_the_lower_bound_of_each_dependency_is_the_version_that_is_tested(requirement):
    (lower,) = (Version(each.version) for each in requirement.specifier if each.operator == ">=")
    oldest = pins("oldest")[canonicalize_name(requirement.name)]
    assert oldest.release[: len(lower.release)] == lower.release, "raise the bound, or lower constraints/oldest.txt"
    newest = pins("newest").get(canonicalize_name(requirement.name))
    assert newest is None or newest in requirement.specifier


def test_the_oldest_and_newest_sets_differ_and_hold_no_address():
    assert pins("oldest")["jax"] < pins("newest")["jax"]
    for name in ("oldest", "newest"):
        text = (ROOT / "constraints" / f"{name}.txt").read_text()
        assert "://" not in text
        assert "@" not in text


def test_the_project_allows_this_python():
    allowed = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["requires-python"]
    assert ".".join(map(str, sys.version_info[:3])) in Requirement(f"python{allowed}").specifier
    assert fcnjax.__version__ == version("fcnjax")
