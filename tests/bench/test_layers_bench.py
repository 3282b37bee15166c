"""The layers' benchmark: its arms are the same network, the twin holds no mask, and the command writes all it found."""

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
from fcnjax.bench import layers, timing
from fcnjax.bench.unmasked import UnmaskedBatch
from fcnjax.commands import main as cli

TINY = layers.Workload(batch_size=3, size=(16, 12), channels=(4, 6))


@pytest.fixture(scope="module")
def arms() -> dict[str, layers.JaxArm]:
    return layers.make_arms(TINY)


def operations(jaxpr) -> Iterator:
    """All equations of a jaxpr, those inside of other equations included."""
    for equation in jaxpr.eqns:
        yield equation
        for inner in jax.extend.core.jaxprs_in_params(equation.params):
            yield from operations(inner)


def masking(model: nnx.Module, batch: Padded) -> set[str]:
    """The masking operations of a network's training pass: positions counted, values selected at positions."""
    graphdef, state = nnx.split(model)
    jaxpr = jax.make_jaxpr(lambda state, batch: nnx.merge(graphdef, state)(batch, train=True))(state, batch)
    return {
        equation.primitive.name
        for equation in operations(jaxpr.jaxpr)
        if equation.primitive.name in ("iota", "select_n") and equation.outvars[0].aval.ndim == batch.values.ndim
    }


@pytest.mark.parametrize("train", [False, True])
def test_the_twin_gives_the_logits_of_the_masked_network_on_whole_examples(train):
    images, _, _ = TINY.draw()
    model = contract.randomize(TINY.model())
    whole = UnmaskedBatch.of(jnp.asarray(images))
    masked = Padded(whole.values, jnp.asarray(whole.sizes))
    graphdef, state = nnx.split(model)
    logits = [nnx.merge(graphdef, state)(batch, train=train) for batch in (masked, whole)]
    contract.assert_close(logits[1], logits[0], "logits")


def test_the_twin_holds_no_mask_and_the_network_does():
    images, sizes, _ = TINY.draw()
    padded = Padded(jnp.asarray(images), jnp.asarray(sizes)).with_zero_padding()
    assert masking(TINY.model(), padded) == {"iota", "select_n"}
    assert masking(TINY.model(), UnmaskedBatch.of(jnp.asarray(images))) == set()


def test_a_whole_batch_is_a_pytree_of_its_values():
    whole = UnmaskedBatch.of(jnp.zeros((2, 3, 4, 5)))
    assert [leaf.shape for leaf in jax.tree.leaves(whole)] == [(2, 3, 4, 5)]
    again = jax.tree.map(lambda leaf: leaf + 1, whole)
    assert isinstance(again, UnmaskedBatch)
    assert again.sizes.tolist() == [[3, 4]] * 2
    assert bool(again.mask.all())


def test_all_arms_without_masks_are_the_same_step(arms):
    losses = {name: [float(arm.step()) for _ in range(3)] for name, arm in arms.items()}
    assert len(set(losses["unmasked"])) == 3
    np.testing.assert_allclose(losses["plain"], losses["unmasked"], rtol=1e-5)
    assert losses["masked"] != pytest.approx(losses["unmasked"], rel=1e-3)  # smaller examples, other statistics


def test_pytorch_does_the_same_step():
    pytest.importorskip("torch")
    step = layers.make_torch_step(TINY)
    arm = layers.make_arms(TINY)["plain"]
    np.testing.assert_allclose([float(step()) for _ in range(3)], [float(arm.step()) for _ in range(3)], rtol=1e-5)


def test_the_command_prints_and_writes_everything_and_compiles_one_program_an_arm(capsys, tmp_path):
    path = tmp_path / "made" / "bench.json"
    tiny = ("--rounds=1", "--batch_size=2", "--size=16x12", f"--json={path}")
    with counted_compilations() as seen:
        assert cli.main(["fcnjax", "bench", "layers", *tiny]) == 0
    assert sum("step" in name for name in seen) == 3, seen
    out, result = capsys.readouterr().out, json.loads(path.read_text())
    assert [entry.name for entry in path.parent.iterdir()] == ["bench.json"]
    for name in layers.RATIOS:
        assert name in out
        missing = name == "step_vs_torch" and result[name] is None
        assert missing or (math.isfinite(result[name]) and result[name] > 0)
    assert result["step_vs_torch_note"]
    assert {"masked", "unmasked", "plain", "plain alone"} <= result["milliseconds"].keys()
    assert all(len(times["rounds"]) == 1 and times["median"] > 0 for times in result["milliseconds"].values())
    assert all(bytes > 0 for kinds in result["memory"].values() for bytes in kinds.values())
    assert result["versions"]["jax"] == jax.__version__
    assert result["xla"].keys() == {"flags", "options", "refused"}
    assert "cpu" in result["devices"]


@pytest.mark.parametrize(
    ("arguments", "part"),
    [
        ((), "say what to measure"),
        (("layer",), "unknown benchmark 'layer': did you mean 'layers'?"),
        (("layers", "--rounds=0"), "--rounds=0"),
        (("layers", "--size=48"), "size (48,): this network takes 2 spatial axes"),
    ],
)
def test_what_cannot_be_measured_gets_a_sentence(arguments, part, capsys):
    assert cli.main(["fcnjax", "bench", *arguments]) == 2
    error = capsys.readouterr().err
    assert part in error
    assert error.count("\n") == 1


def count_in(path):
    """An arm that notes the process it runs in, and its steps."""

    def run(steps):
        with open(path, "a") as file:
            file.write(f"{os.getpid()} {steps}\n")

    return run


def test_an_arm_in_its_own_process_is_made_once_and_runs_there(tmp_path):
    path = tmp_path / "steps"
    with timing.InOwnProcess(count_in, path) as arm:
        arm(3)
        arm(4)
    (process, first), (same, second) = (line.split() for line in path.read_text().splitlines())
    assert (first, second) == ("3", "4")
    assert process == same != str(os.getpid())


def test_arms_take_turns_and_the_first_round_only_warms_up():
    order: list[str] = []
    times = timing.take_turns({name: lambda steps, name=name: order.append(name * steps) for name in "abc"}, 5, 3)
    rounds = [order[first : first + 3] for first in range(0, len(order), 3)]
    assert [sorted(each) for each in rounds] == [["aaa", "bbb", "ccc"]] * 6
    assert len({tuple(each) for each in rounds}) > 2, "always in the same order"
    assert {name: len(each) for name, each in times.items()} == {"a": 5, "b": 5, "c": 5}
    assert timing.ratio([2.0, 4.0, 12.0], [1.0, 2.0, 3.0]) == timing.Spread(2.0, 2.0, 3.0)
