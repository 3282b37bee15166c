"""Keys: what changes a number changes the key, and nothing else does."""

import dataclasses
import functools
import re
from pathlib import Path

import pytest

from fcnjax import lab
from fcnjax.lab import draws, keys
from fcnjax.lab.keys import code_hash, code_of, described, measure_key, run_key
from fcnjax.training import DataSettings, Recipe

CODE = '''"""A module."""

import math

SCALE = 2.0  # a comment


class Layer:
    """A layer."""

    def area(self, radius: float) -> float:
        """Returns an area."""
        return SCALE * math.pi * radius**2


EXPERIMENT = lab.Experiment("a", claims=(1, 2))

if __name__ == "__main__":
    main(EXPERIMENT)
'''


@pytest.fixture
def package(tmp_path) -> Path:
    for name in ("layers/area.py", "lab/report.py", "bench/arms.py", "commands/main.py", "inference/run.py"):
        file = tmp_path / name
        file.parent.mkdir(exist_ok=True)
        file.write_text(CODE)
    return tmp_path


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("# a comment", "# another"),
        ('"""A layer."""', '"""A disk."""'),
        ('"""Returns an area."""\n', '"""Returns the area of a disk.\n\n        Args: none.\n        """\n'),
        ('"""A module."""\n', ""),
        ("SCALE * math.pi * radius**2", "(SCALE * math.pi *\n            radius ** 2)"),
        ("claims=(1, 2)", "claims=(1, 3)"),
        ("main(EXPERIMENT)", "sys.exit(main(EXPERIMENT))"),
    ],
)
def test_what_computes_nothing_changes_no_key(package, old, new):
    before = code_hash(package)
    file = package / "layers/area.py"
    assert old in CODE
    file.write_text(CODE.replace(old, new))
    assert code_hash(package) == before


@pytest.mark.parametrize(("old", "new"), [("2.0", "2.5"), ("**2", "**3"), ("class Layer", "class Disk"), ("pi", "tau")])
def test_what_computes_changes_the_key_unless_it_is_in_a_room_that_runs_do_not_use(package, old, new):
    before = code_hash(package)
    for room in ("lab/report.py", "bench/arms.py", "commands/main.py", "inference/run.py"):
        (package / room).write_text(CODE.replace(old, new))
    assert code_hash(package) == before
    (package / "layers/area.py").write_text(CODE.replace(old, new))
    assert code_hash(package) != before


def test_the_key_of_code_is_the_same_in_all_versions_of_python(package):
    generic = "def first(values=[], *, at=None):\n    return [f\"{values[at]!r}: {'a'}\"] if values else None\n"
    (package / "generic.py").write_text(generic)
    assert code_hash(package) == "0540bc820f7ad6bd449b2b47"


def test_a_new_module_and_another_name_change_the_key(package):
    before = code_hash(package)
    (package / "layers/disk.py").write_text(CODE)
    grown = code_hash(package)
    (package / "layers/disk.py").rename(package / "layers/circle.py")
    assert len({before, grown, code_hash(package)}) == 3


def test_the_package_itself_is_hashed_without_the_laboratory():
    assert code_hash() == code_hash(keys.PACKAGE)
    assert code_hash() != code_hash(keys.PACKAGE, (*keys.LEFT_OUT, "training"))
    assert code_hash() != code_hash(keys.PACKAGE, ())


RECIPE = Recipe(DataSettings("digits"), seed=7)
SETTING, ARM = lab.Setting("digits.py"), lab.Arm("a", "A", {"head.pool_at": 1})
DIGEST = {"train": {"examples": "1", "contents": "2", "covers": "all"}}


def key(**changes) -> str:
    given = {"recipe": RECIPE, "setting": SETTING, "arm": ARM, "seed": 0, "fold": 1, "digest": DIGEST}
    return run_key(**{**given, **changes})


def changed(value, **changes):
    return dataclasses.replace(value, **changes)


@pytest.mark.parametrize(
    "changes",
    [
        {"arm": changed(ARM, name="b", title="B", description="?", control=True)},
        {"setting": changed(SETTING, seeds=20, blocks=9, config="configs/digits.py")},
        {"recipe": changed(RECIPE, validate_every=0, checkpoint_every=0)},
        {"recipe": changed(RECIPE, data=DataSettings("digits", data_dir="elsewhere"))},
    ],
)
def test_names_and_more_seeds_leave_the_key(changes):
    assert key(**changes) == key()


def test_all_that_changes_a_run_changes_its_key():
    variants = [
        {},
        {"seed": 1},
        {"fold": 0},
        {"recipe": changed(RECIPE, seed=8)},
        {"recipe": changed(RECIPE, epochs=3)},
        {"recipe": changed(RECIPE, data=DataSettings("digits", mean=0.5))},
        {"setting": changed(SETTING, folds=3)},
        {"setting": changed(SETTING, train_examples=100)},
        {"arm": changed(ARM, salt=1)},
        {"arm": changed(ARM, sources=lab.few_examples(5))},
        {"arm": changed(ARM, sources=lab.few_examples(6))},
        {"arm": changed(ARM, sources=lab.shuffled_labels())},
        {"digest": {"train": {**DIGEST["train"], "contents": "3"}}},
    ]
    found = [key(**changes) for changes in variants]
    assert len(set(found)) == len(found)
    assert all(re.fullmatch("[0-9a-f]{24}", each) for each in found)


def test_the_code_that_runs_and_divides_is_part_of_the_key(monkeypatch, package):
    before = key()
    monkeypatch.setattr(keys, "_own_code", lambda: "another")
    assert key() != before
    monkeypatch.undo()
    monkeypatch.setattr(draws, "__file__", str(package / "layers/area.py"))
    assert key() != before


def confidence(run: lab.TrainedRun) -> None:
    del run


def test_measures_key_what_is_measured():
    scores, same = lab.Scores(), lab.SameFunction("a", "late", (("head.pool_at", 1),))
    found = [measure_key("a", [scores]), measure_key("b", [scores]), measure_key("a", [scores, same])]
    found += [measure_key("a", [each]) for each in (lab.ByArea(2), lab.ByArea(3), confidence)]
    assert len(set(found)) == len(found)
    assert measure_key("a", [lab.SameFunction("a", "late", (("head.pool_at", 1),))]) == measure_key("a", [same])


@pytest.mark.parametrize(
    "module",
    [
        "measures/trained_run.py",
        "measures/scores.py",
        "measures/maps/features.py",
        "changes/changed_sizes.py",
        "changes/scenes.py",
    ],
)
def test_modules_whose_functions_measures_share_are_part_of_their_key(monkeypatch, module):
    measures = [lab.AtSizes(((9, 9),)), lab.ZeroPadding()]
    before, code = measure_key("a", measures), keys.code_of
    monkeypatch.setattr(keys, "code_of", lambda file: "new" if file == keys.PACKAGE / "lab" / module else code(file))
    assert measure_key("a", measures) != before


def test_a_module_keeps_the_key_of_the_code_that_this_process_runs(package):
    file = package / "layers/area.py"
    before = code_of(file)
    file.write_text(CODE.replace("**2", "**3"))
    assert code_of(file) == before
    assert code_of(package / "lab/report.py") == before
    (package / "lab/disk.py").write_text(file.read_text())
    assert code_of(package / "lab/disk.py") != before


@dataclasses.dataclass(frozen=True)
class Wrapped:
    """Another measure, and a number."""

    inner: object
    number: float = 1.0

    def __call__(self, run: lab.TrainedRun) -> None:
        del run


def test_a_function_is_described_by_its_module_its_name_and_its_fields(monkeypatch, package):
    assert described(confidence) == [code_of(__file__), "confidence", {}]
    assert described(lab.ByArea(2))[1:] == ["ByArea", {"parts": "2"}]
    assert described(Wrapped(confidence))[2] == {"inner": described(confidence), "number": "1.0"}
    variants = [Wrapped(None), Wrapped(confidence), Wrapped(lab.ByArea(2)), Wrapped(lab.ByArea(3)), Wrapped(None, 2.0)]
    found = [keys.hashed(described(each)) for each in variants]
    assert len(set(found)) == len(found)
    monkeypatch.setattr(keys.inspect, "getsourcefile", lambda function: package / "layers/area.py")
    assert described(confidence)[0] == code_of(package / "layers/area.py")
    monkeypatch.setattr(keys.inspect, "getsourcefile", lambda function: None)
    with pytest.raises(ValueError, match="must be defined in a file"):
        described(confidence)


def test_a_function_without_a_name_of_its_own_is_refused():
    def inner(run: lab.TrainedRun) -> None:
        del run

    class Plain:
        def __call__(self, run: lab.TrainedRun) -> None:
            del run

    for nameless in (
        lambda run: None,
        inner,
        functools.partial(confidence),
        Plain(),
        Wrapped(inner),
        Wrapped(object()),
    ):
        with pytest.raises(ValueError, match="must have a name that keys its results"):
            described(nameless)
