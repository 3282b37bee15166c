"""Programs compile side by side; one that fails or hangs does not cost the others."""

import threading

import pytest

from fcnjax.bench.compiling import CompiledPrograms


def test_a_compilation_that_hangs_is_given_up_and_the_others_count():
    let_go = threading.Event()

    def fail():
        raise ValueError("no such operation")

    compiled = CompiledPrograms()
    jobs = {"good": lambda: "program", "bad": fail, "hangs": lambda: let_go.wait(60)}
    errors = compiled.compile(jobs, "three", limit=1.0)
    assert compiled.given_up == {"hangs"}
    assert str(compiled.compile({"hangs": lambda: pytest.fail("again")}, "one")["hangs"]).startswith("not compiled in")
    assert compiled.programs == {"good": "program"}
    assert set(errors) == {"bad", "hangs"}
    assert str(errors["bad"]) == "no such operation"
    assert str(errors["hangs"]) == "not compiled within 1 s."
    assert set(compiled.alone) == {"good", "bad"}
    let_go.set()


def test_a_program_is_compiled_once():
    compiled = CompiledPrograms()
    assert compiled.compile({"a": lambda: 1, "b": lambda: 2}, "two") == {}
    assert not compiled.given_up
    assert compiled.compile({"a": lambda: pytest.fail("compiled again"), "c": lambda: 3}, "two") == {}
    assert compiled.programs == {"a": 1, "b": 2, "c": 3}
