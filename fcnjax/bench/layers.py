"""What a train step costs: with masks against without, and against the same step in plain JAX and in PyTorch.

The step is the one that training runs, for a stack of halving convolutions like the forum thread's. Plain JAX is
measured twice: in a process of its own, as a program without this library runs it, and in this one, whose freed memory
is kept (`fcnjax.memory`) and whose XLA flags are ours (`fcnjax.xla`), both part of what makes our step faster.
Axes: B batch, H height, W width, C channels.
"""

import dataclasses
from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import nnx
from rich.table import Table

from fcnjax import models
from fcnjax.bench.baselines import TorchStep, find_torch, make_plain_step
from fcnjax.bench.timing import ENVIRONMENT, InOwnProcess, TimedProgram, between, ratio, spread, take_turns, threads
from fcnjax.bench.unmasked import UnmaskedBatch
from fcnjax.naming import joined
from fcnjax.padded import Padded
from fcnjax.table_style import tight_table
from fcnjax.training.compile.compilation import jit
from fcnjax.training.run.run_folder import environment
from fcnjax.training.step.step import Targets, TrainState, make_gradient, make_train_step, split

RATE, MOMENTUM = 0.01, 0.9  # of SGD
ROUNDS, STEPS = 15, 20  # turns of each arm; steps in a turn, of which the first meets what others left in the caches
MEMORY = ("temp_size_in_bytes", "output_size_in_bytes", "argument_size_in_bytes")  # of XLA's memory analysis
RATIOS = {  # name -> (what it says, its target)
    "mask_time_ratio": ("time, masks / none", "at most 1.10"),
    "mask_memory_ratio": ("memory, masks / none", "at most 1.10"),
    "step_vs_plain_xla": ("time, plain JAX alone / ours", "at least 2.5"),
    "step_vs_plain_here": ("time, plain JAX / ours", ""),
    "step_vs_torch": ("time, ours / PyTorch", "at most 1.2"),
}


@dataclasses.dataclass(frozen=True)
class Workload:
    """The network and batch that are measured: a stack like the thread's, with global average pooling first.

    Attributes:
        batch_size: B.
        size: (H, W) of the rectangle; examples in it are of half that size to all of it.
        in_channels: C of the images.
        kernel: taps of its convolutions, which have stride 2.
        channels: of each halving block.
        classes: number of classes.
    """

    batch_size: int = 64
    size: tuple[int, ...] = (48, 48)
    in_channels: int = 3
    kernel: int = 3
    channels: tuple[int, ...] = (32, 64, 128)
    classes: int = 10

    def model(self) -> models.Classifier:
        """Returns the network."""
        return models.create(
            "fcn",
            classes=self.classes,
            in_channels=self.in_channels,
            kernel=self.kernel,
            channels=self.channels,
            head={"pool_at": 0},
            rngs=nnx.Rngs(0),
        )

    def draw(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Returns images [B, H, W, C], sizes [B, 2] of which the first is the whole rectangle, and labels [B]."""
        model = self.model()
        model.check_sizes(np.array([self.size]))
        rng = np.random.default_rng(0)
        images = rng.normal(size=(self.batch_size, *self.size, self.in_channels)).astype(np.float32)
        half = np.maximum((np.array(self.size) + 1) // 2, model.min_size)
        sizes = rng.integers(half, np.array(self.size) + 1, (self.batch_size, 2)).astype(np.int32)
        sizes[0] = self.size
        return images, sizes, rng.integers(0, self.classes, self.batch_size).astype(np.int32)


class JaxArm:
    """A compiled step and the state that it moves on.

    Args:
        step: jitted, `(state, *inputs) -> (state, loss)`; it takes the state's memory.
        state: the first one, copied.
        inputs: of every step.
    """

    def __init__(self, step: Any, state: TrainState, *inputs: Any):
        self.compiled, self._inputs = step.lower(state, *inputs).compile(), inputs
        self._state = jax.tree.map(jnp.copy, state)

    def step(self) -> jax.Array:
        """Does one step and returns its loss."""
        self._state, loss = self.compiled(self._state, *self._inputs)
        return loss

    def run(self, steps: int) -> None:
        """Does that many steps and waits for the last."""
        for _ in range(steps):
            self.step()
        jax.block_until_ready(self._state)

    def memory(self) -> dict[str, int]:
        """Returns the bytes of XLA's plan for the program, by kind (see `MEMORY`)."""
        analysis = self.compiled.memory_analysis()
        return {name: getattr(analysis, name) for name in MEMORY}


def make_arms(work: Workload, names: Sequence[str] = ("masked", "unmasked", "plain")) -> dict[str, JaxArm]:
    """Returns the compiled arms of those names, with the same initial weights, in the order in which they take turns.

    "masked" is the step as training runs it, on examples of different sizes; "unmasked" the same without any mask, on
    examples that fill the rectangle; "plain" the one of `make_plain_step`, with XLA's default options.
    """
    graphdef, weights, statistics = split(work.model())
    optimizer = optax.sgd(RATE, momentum=MOMENTUM)
    state = TrainState(jnp.int32(0), weights, statistics, optimizer.init(weights))
    images, sizes, labels = map(jnp.asarray, work.draw())
    targets, seed_and_epoch = Targets(labels, jnp.arange(work.batch_size, dtype=jnp.int32)), jnp.zeros(2, jnp.uint32)
    ours = jit(make_train_step(make_gradient(graphdef), optimizer), donate=(0,))
    plain = jax.jit(make_plain_step(optimizer), donate_argnums=0)
    inputs = {
        "masked": (ours, Padded(images, sizes).with_zero_padding(), targets, seed_and_epoch),
        "unmasked": (ours, UnmaskedBatch.of(images), targets, seed_and_epoch),
        "plain": (plain, images, labels),
    }
    return {name: JaxArm(step, state, *given) for name, (step, *given) in inputs.items() if name in names}


def run_plain(work: Workload) -> TimedProgram:
    """Returns what runs steps of the arm "plain"."""
    return make_arms(work, ("plain",))["plain"].run


def make_torch_step(work: Workload) -> TorchStep | str:
    """Returns PyTorch's step of the same network on JAX's kind of device, or a sentence on why there is none."""
    found = find_torch()
    if isinstance(found, str):
        return found
    images, _, labels = work.draw()
    _, weights, _ = split(work.model())
    return TorchStep(*found, weights, [[(images, labels)]], rate=RATE, momentum=MOMENTUM)


def measure(work: Workload, rounds: int = ROUNDS) -> dict[str, Any]:
    """Measures all arms side by side.

    Args:
        work: what to measure.
        rounds: turns of each arm, at least 1, after a first one that only warms up.

    Returns:
        What `fcnjax bench layers --json` writes: the `RATIOS` (medians over the rounds of each round's ratio, None
            where
        there is nothing to compare with), their quartiles, each arm's milliseconds a step and bytes, device and
            versions.

    Raises:
        ValueError: for fewer than 1 round.
    """
    if rounds < 1:
        raise ValueError(f"rounds={rounds}: must be at least 1.")
    arms, torch_step = make_arms(work), make_torch_step(work)
    runs: dict[str, TimedProgram] = {name: arm.run for name, arm in arms.items()}
    if isinstance(torch_step, TorchStep):
        runs["torch"] = torch_step.run
    with InOwnProcess(run_plain, work) as alone:
        times = take_turns(runs | {"plain alone": alone}, rounds, STEPS)
    memory = {name: arm.memory() for name, arm in arms.items()}
    ratios = {
        "mask_time_ratio": ("masked", "unmasked"),
        "step_vs_plain_xla": ("plain alone", "masked"),
        "step_vs_plain_here": ("plain", "masked"),
    }
    ratios |= {"step_vs_torch": ("masked", "torch")} if "torch" in times else {}
    spreads = {name: ratio(times[over], times[under]) for name, (over, under) in ratios.items()}
    about = environment()
    return {
        **{name: spreads[name].median if name in spreads else None for name in RATIOS},
        "mask_memory_ratio": sum(memory["masked"].values()) / sum(memory["unmasked"].values()),
        "ratio_quartiles": {name: (low, high) for name, (_, low, high) in spreads.items()},
        "targets": {name: target for name, (_, target) in RATIOS.items()},
        "milliseconds": {name: {**spread(each)._asdict(), "rounds": each} for name, each in times.items()},
        "memory": memory,
        "step_vs_torch_note": torch_step if isinstance(torch_step, str) else f"PyTorch {torch_step.version}, eager",
        "workload": dataclasses.asdict(work),
        "rounds": rounds,
        "steps_per_round": STEPS,
        "threads": threads(),
        **{name: about[name] for name in ENVIRONMENT},
    }


def table(result: dict[str, Any]) -> Table:
    """Returns what `measure` found as a table: the ratios with their quartiles and targets, then each arm."""
    shape = joined((result["workload"]["batch_size"], *result["workload"]["size"]))
    title = f"train step, {shape}, {result['devices']}, {result['threads']} threads, {result['rounds']} rounds"
    table = tight_table("", "median", "quartiles", "target", title=title, left=4)
    for name, (meaning, target) in RATIOS.items():
        median, quartiles = result[name], result["ratio_quartiles"].get(name)
        shown = result["step_vs_torch_note"] if median is None else f"{median:.3f}"
        table.add_row(f"{name}\n  {meaning}", shown, between(quartiles), target)
    table.add_section()
    for name, times in result["milliseconds"].items():
        table.add_row(f"{name}, ms", f"{times['median']:.2f}", between((times["low"], times["high"])), "")
    return table
