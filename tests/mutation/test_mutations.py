"""The tool behind `make mutants`: which lines it changes, what counts as caught, and that its list is not stale."""

import ast

import pytest
from mutations import applied, mutations_of, sample
from run_mutants import EQUIVALENT, LEFT_OUT, ROOT, failing, mirrors_of, mutable_files, read_equivalent, run_tests


@pytest.mark.parametrize(
    ("line", "changed"),
    [
        ("x = a < b", {"x = a <= b"}),
        ("x = (a + b) * c", {"x = (a - b) * c", "x = (a + b) / c"}),
        (
            "x = a not in b and c is None",
            {"x = a in b and c is None", "x = a not in b or c is None"} | {"x = a not in b and c is not None"},
        ),
        ("x = y[0] + z[1]", {"x = y[1] + z[1]", "x = y[0] - z[1]", "x = y[0] + z[0]", "x = y[0] + z[2]"}),
        ("x = -a if b else True", {"x = a if b else True", "x = -a if not (b) else True", "x = -a if b else False"}),
        ("total += x", {"pass"}),
        ("f.flush()", {"pass"}),
        ("x = jnp.minimum(a, b).any()", {"x = jnp.maximum(a, b).any()", "x = jnp.minimum(a, b).all()"}),
        ("x = f(batch.values, where=m)", {"x = f(batch.raw_values, where=m)", "x = f(batch.values)"}),
        ("x = where(a, b, c)", {"x = where(a, c, b)"}),
        ("x: int = 2.5", {"x: int = 5.0"}),
        ("x = zip(a, b, strict=True)", set()),
        ('raise ValueError(f"{a + 1}: is wrong")', set()),
        ('x = path / "name"', set()),
        ('"""A docstring with a < b and 3 numbers."""', set()),
    ],
)
def test_a_line_is_changed_in_these_ways(line, changed):
    assert {mutation.after for mutation in mutations_of("a.py", line)} == changed


def test_a_sample_changes_different_lines_and_depends_on_the_seed_only():
    files = ["fcnjax/geometry.py", "fcnjax/training/compile/freed_memory.py"]
    drawn = sample(ROOT, files, 20, 0)
    assert drawn == sample(ROOT, files[::-1], 20, 0)
    assert drawn != sample(ROOT, files, 20, 1)
    assert len({(mutation.file, mutation.line) for mutation in drawn}) == 20
    for mutation in drawn:
        before = (ROOT / mutation.file).read_text()
        after = applied(mutation, before)
        ast.parse(after)
        pairs = zip(before.splitlines(), after.splitlines(), strict=True)
        assert [n for n, (old, new) in enumerate(pairs, 1) if old != new] == [mutation.line]


def test_every_file_has_tests_that_exist():
    files = mutable_files()
    assert {"fcnjax/geometry.py", "fcnjax/training/run/loop.py", "fcnjax/layers/convolution/cpu/strided.py"} < set(
        files
    )
    assert not any(file.endswith(LEFT_OUT) for file in files)
    for file in files:
        quick, tests = ([part for part in given if part not in ("-m", "not slow")] for given in mirrors_of(file))
        assert all((ROOT / test.partition("::")[0]).exists() for test in [*quick, *tests]), file
    assert mirrors_of("fcnjax/training/run/journal.py")[0][3:] == ["tests/training/run/test_journal.py"]
    assert "not slow" not in mirrors_of("fcnjax/training/compile/mesh.py")[1]


def test_equivalent_mutations_are_of_lines_that_exist_and_have_reasons():
    for (file, before, after), reason in read_equivalent(EQUIVALENT).items():
        known = {(m.before, m.after) for m in mutations_of(file, (ROOT / file).read_text())}
        assert (before, after) in known, f"{file}: {before}"
        assert len(reason) > 20, f"{file}: {before}"


def test_a_mutation_is_caught_by_a_test_that_fails(tmp_path):
    (tmp_path / "test_it.py").write_text("def test_right():\n    pass\n\n\ndef test_wrong():\n    assert False\n")
    assert run_tests(tmp_path, ["test_it.py::test_right"], 60)[0] == "survived"
    verdict, output = run_tests(tmp_path, ["test_it.py"], 60)
    assert (verdict, failing(output)) == ("caught", "test_it.py::test_wrong")
    assert run_tests(tmp_path, ["test_it.py"], 0.01)[0] == "too slow"


def test_a_line_of_a_log_is_no_test_that_failed():
    log = "ERROR    absl:future.py:387 [process=0] raised an exception: File too large\n"
    assert failing(log) == ""
    assert failing(f"{log}FAILED tests/test_a.py::test_b[x - y] - assert 1 == 2\n") == "tests/test_a.py::test_b[x - y]"
    assert failing(f"{log}ERROR tests/test_a.py - ImportError: no c\n") == "tests/test_a.py"
