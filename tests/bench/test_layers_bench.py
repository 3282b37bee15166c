"""The layers' benchmark: its steps train the same network, "unmasked" holds no mask, and the command writes JSON."""

import dataclasses
import json
import math
import os
from collections.abc import Iterator

import contract
import jax
import jax.extend
import jax.numpy as jnp
import numpy as np
import pytest
from compilations import counted_compilations
from flax import nnx

from fcnjax import Padded
from fcnjax.bench import layers
from fcnjax.bench.jax_step import JaxStep
from fcnjax.bench.report import Spread, ratio
from fcnjax.bench.timing import InOwnProcess, take_turns
from fcnjax.bench.torch_step import MEMORY_SHARES, leave_memory_for_torch
from fcnjax.bench.unmasked import UnmaskedBatch
from fcnjax.commands.main import main

TINY = layers.Workload(batch_size=3, size=(16, 12), channels=(4, 6))


@pytest.fixture(scope="module")
def steps() -> dict[str, JaxStep]:
    return layers.make_jax_steps(TINY)


def operations(jaxpr) -> Iterator:
    """Yields all equations of a jaxpr, including those inside other equations."""
    for equation in jaxpr.eqns:
        yield equation
        for inner in jax.extend.core.jaxprs_in_params(equation.params):
            yield from operations(inner)


def masking(model: nnx.Module, batch: Padded) -> set[str]:
    """Returns the masking operations of a network in training: `iota` over positions, `select_n` at positions."""
    graphdef, state = nnx.split(model)
    jaxpr = jax.make_jaxpr(lambda state, batch: nnx.merge(graphdef, state)(batch, train=True))(state, batch)
    return {
        equation.primitive.name
        for equation in operations(jaxpr.jaxpr)
        if equation.primitive.name in ("iota", "select_n") and equation.outvars[0].aval.ndim == batch.values.ndim
    }


@pytest.mark.parametrize("train", [False, True])
def test_an_unmasked_batch_gives_the_logits_of_the_same_padded_batch(train):
    images, _, _ = TINY.draw()
    model = contract.randomize(TINY.model())
    unmasked = UnmaskedBatch.of(jnp.asarray(images))
    masked = Padded(unmasked.values, jnp.asarray(unmasked.sizes))
    graphdef, state = nnx.split(model)
    logits = [nnx.merge(graphdef, state)(batch, train=train) for batch in (masked, unmasked)]
    contract.assert_close(logits[1], logits[0], "logits")


def test_only_the_padded_batch_is_masked():
    images, sizes, _ = TINY.draw()
    padded = Padded(jnp.asarray(images), jnp.asarray(sizes)).with_zero_padding()
    assert masking(TINY.model(), padded) == {"iota", "select_n"}
    assert masking(TINY.model(), UnmaskedBatch.of(jnp.asarray(images))) == set()


def test_an_unmasked_batch_is_a_pytree_of_its_values():
    unmasked = UnmaskedBatch.of(jnp.zeros((2, 3, 4, 5)))
    assert [leaf.shape for leaf in jax.tree.leaves(unmasked)] == [(2, 3, 4, 5)]
    again = jax.tree.map(lambda leaf: leaf + 1, unmasked)
    assert isinstance(again, UnmaskedBatch)
    assert again.sizes.tolist() == [[3, 4]] * 2
    assert bool(again.mask.all())


def test_all_steps_without_masks_are_the_same(steps):
    losses = {name: [float(step()) for _ in range(3)] for name, step in steps.items()}
    assert len(set(losses["unmasked"])) == 3
    np.testing.assert_allclose(losses["plain"], losses["unmasked"], rtol=1e-5)
    assert losses["masked"] != pytest.approx(losses["unmasked"], rel=1e-3)  # smaller examples have other statistics


def test_all_steps_compute_in_bfloat16_if_asked_to():
    half = dataclasses.replace(TINY, dtype="bfloat16")
    steps, exact = layers.make_jax_steps(half), layers.make_jax_steps(TINY, ("plain",))["plain"]
    losses = {name: float(step()) for name, step in steps.items()}
    assert losses["plain"] == pytest.approx(losses["unmasked"], rel=5e-3)
    assert losses["plain"] == pytest.approx(float(exact()), rel=2e-2)
    assert losses["plain"] != float(exact())
    for name in ("unmasked", "plain"):
        assert "bf16" in steps[name].steps[0][0].as_text()


def test_pytorch_does_the_same_step():
    pytest.importorskip("torch")
    torch_step, plain = layers.make_torch_step(TINY), layers.make_jax_steps(TINY)["plain"]
    losses = [[float(step()) for _ in range(3)] for step in (torch_step, plain)]
    np.testing.assert_allclose(*losses, rtol=1e-5)


def test_the_command_prints_and_writes_everything_and_compiles_one_program_per_step(capsys, tmp_path):
    path = tmp_path / "made" / "bench.json"
    tiny = ("--rounds=1", "--batch_size=2", "--size=16x12", "--dtype=bfloat16", "--precision=tf32", f"--json={path}")
    with counted_compilations() as seen:
        assert main(["fcnjax", "bench", "layers", *tiny]) == 0
    assert sum("step" in name for name in seen) == 3, seen
    out, result = capsys.readouterr().out, json.loads(path.read_text())
    assert [entry.name for entry in path.parent.iterdir()] == ["bench.json"]
    for name in layers.QUANTITIES:
        assert name in out
        missing = name == "step_vs_torch" and result[name] is None
        assert missing or (math.isfinite(result[name]) and result[name] > 0)
    assert result["step_vs_torch_note"]
    assert {"masked", "unmasked", "plain", "plain alone"} <= result["milliseconds"].keys()
    assert all(len(times["rounds"]) == 1 and times["median"] > 0 for times in result["milliseconds"].values())
    assert all(bytes > 0 for kinds in result["memory"].values() for bytes in kinds.values())
    assert result["versions"]["jax"] == jax.__version__
    assert result["xla"].keys() == {"flags", "options", "refused"}
    assert jax.devices()[0].platform in result["devices"]
    assert (result["dtype"], result["precision"]) == ("bfloat16", "tf32")


@pytest.mark.parametrize(
    ("arguments", "part"),
    [
        ((), "say what to measure"),
        (("layer",), "unknown benchmark 'layer': did you mean 'layers'? Known: determinism, exactness, input, layers"),
        (("layers", "--rounds=0"), "--rounds=0"),
        (("layers", "--size=48"), "size (48,): this network takes 2 spatial axes"),
    ],
)
def test_what_cannot_be_measured_gets_a_sentence(arguments, part, capsys):
    assert main(["fcnjax", "bench", *arguments]) == 2
    error = capsys.readouterr().err
    assert part in error
    assert error.count("\n") == 1


def count_in(path):
    """Returns a timed program that records its process and its steps."""

    def run(steps):
        with open(path, "a") as file:
            file.write(f"{os.getpid()} {steps}\n")

    return run


def test_a_program_in_its_own_process_is_made_once_and_runs_there(tmp_path):
    path = tmp_path / "steps"
    with InOwnProcess(count_in, path) as program:
        program(3)
        program(4)
    (process, first), (same, second) = (line.split() for line in path.read_text().splitlines())
    assert (first, second) == ("3", "4")
    assert process == same != str(os.getpid())


def test_programs_take_turns_and_the_first_round_only_warms_up():
    order: list[str] = []
    times = take_turns({name: lambda steps, name=name: order.append(name * steps) for name in "abc"}, 5, 3)
    rounds = [order[first : first + 3] for first in range(0, len(order), 3)]
    assert [sorted(each) for each in rounds] == [["aaa", "bbb", "ccc"]] * 6
    assert len({tuple(each) for each in rounds}) > 2, "the order is always the same"
    assert {name: len(each) for name, each in times.items()} == {"a": 5, "b": 5, "c": 5}
    assert ratio([2.0, 4.0, 12.0], [1.0, 2.0, 3.0]) == Spread(2.0, 2.0, 3.0)


def test_pytorch_is_left_memory_unless_the_environment_names_a_share(monkeypatch):
    for name in MEMORY_SHARES:
        monkeypatch.setenv(name, "")  # what it was is restored at the end
        monkeypatch.delenv(name)
    monkeypatch.setenv(MEMORY_SHARES[1], "0.3")
    leave_memory_for_torch()
    assert MEMORY_SHARES[0] not in os.environ  # JAX refuses both
    monkeypatch.delenv(MEMORY_SHARES[1])
    leave_memory_for_torch()
    assert os.environ[MEMORY_SHARES[0]] == "0.6"
