"""Training at native sizes, side by side with every alternative, in megapixels of real examples a second.

Ours pads the examples of a size table to a few planned rectangles. The others: the same network on dense batches of one
shape (what masks and padding cost at most), every batch padded to the largest size, one program for each distinct
shape, and PyTorch, eager, one example at a time, in batches of one exact size, and dense. All start from the same
weights and take turns; values are drawn, and wait on the device.

Axes: B rows, N examples, D spatial axes, C channels.
"""

import dataclasses
import os
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import nnx
from rich.table import Table

from fcnjax import models
from fcnjax.bench.baselines import TorchStep, find_torch
from fcnjax.bench.layers import MOMENTUM, RATE
from fcnjax.bench.native_sizes import Rows, Stretch, dense, of_one_size, one_by_one, planned
from fcnjax.bench.overheads import dispatch_ms, first_step_seconds
from fcnjax.bench.timing import ENVIRONMENT, Spread, between, ratio, spread, take_turns, threads
from fcnjax.bench.unmasked import UnmaskedBatch
from fcnjax.data import BucketPlan, plan_buckets
from fcnjax.data.planning.baseline_buckets import pad_to_max
from fcnjax.data.size_table import areas
from fcnjax.naming import joined
from fcnjax.padded import Padded
from fcnjax.table_style import tight_table
from fcnjax.training.compile.compilation import CompiledByShape
from fcnjax.training.run.run_folder import environment
from fcnjax.training.step.step import Targets, TrainState, make_gradient, make_train_step, split

ROUNDS = 10  # turns of each arm
OURS, DENSE, MAX, PER_SHAPE = "planned", "dense", "padded to max", "one size a batch"
TORCH = {"vs_torch_one_by_one": "torch one by one", "vs_torch_exact_groups": "torch one size a batch"}
TORCH |= {"vs_torch_dense": "torch dense"}
RATIOS = {  # name -> (what our rate is compared with, the target)
    "vs_dense": ("dense batches of one shape, no masks", "at least 0.80 with 16 shapes, 0.85 with 32"),
    "vs_pad_to_max": ("every batch padded to the largest size", "at least 3"),
    "vs_compile_per_shape": ("a program for each distinct shape, compilation included", "more than 1"),
    "vs_torch_one_by_one": ("PyTorch, one example at a time", "more than 1"),
    "vs_torch_exact_groups": ("PyTorch, batches of one exact size", "more than 1"),
    "vs_torch_dense": ("PyTorch, dense batches of one shape", "at least 0.8"),
}
FIXED = {  # name -> (what it is, unit, target)
    "warm_start_s": ("from the start of a process to its first step, programs cached", "s", "less than 8"),
    "host_overhead_ms": ("of Python in a step", "ms", "less than 0.5"),
}


@dataclasses.dataclass(frozen=True, eq=False)
class Workload:
    """What is trained on what: the forum thread's network, pooling first, in batches of about equal positions.

    Attributes:
        sizes: int [N, 2], of the examples.
        shapes: most rectangles of our plan.
        pixel_budget: positions of a batch; at least those of the largest rectangle.
        steps: batches in a turn of an arm, at least 1; the slower arms have fewer.
        epochs: over which the time of compiling is spread, at least 1.
        in_channels, kernel, channels, classes: of the network (see `fcnjax.models.fcn`).
        dtype: what is computed in, "float32" or "bfloat16".

    Raises:
        ValueError: if a count is below 1, or an example is too small for the network.
    """

    sizes: np.ndarray
    shapes: int = 16
    pixel_budget: int = 2**17
    steps: int = 32
    epochs: int = 30
    in_channels: int = 3
    kernel: int = 4
    channels: tuple[int, ...] = (32, 64, 128)
    classes: int = 101
    dtype: str = "float32"

    def __post_init__(self):
        for name in ("shapes", "pixel_budget", "steps", "epochs"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name}={getattr(self, name)}: must be at least 1.")
        model = self.model()
        model.check_sizes(self.sizes)
        small = np.flatnonzero((self.sizes < 2 * np.array(model.min_size)).all(axis=1))
        if small.size:
            size = joined(self.sizes[small[0]].tolist())
            raise ValueError(
                f"sizes: example {small[0]} of size {size} ends as one position, for which PyTorch's batch norm has no "
                "variance; give larger ones, or a larger scale."
            )

    def model(self) -> models.Classifier:
        """Returns the network."""
        return models.create("fcn", dtype=self.dtype, head={"pool_at": 0}, rngs=nnx.Rngs(0), **self._network)

    @property
    def _network(self) -> dict[str, Any]:
        return {name: getattr(self, name) for name in ("classes", "in_channels", "kernel", "channels")}

    def buckets(self) -> BucketPlan:
        """Returns our rectangles."""
        return plan_buckets(self.sizes, self.shapes, pixel_budget=self.pixel_budget)

    def stretches(self) -> dict[str, Stretch]:
        """Returns what each arm in JAX trains on."""
        few, largest = -(-self.steps // 4), pad_to_max(self.sizes).with_budget(self.pixel_budget)
        return {
            OURS: planned(self.sizes, self.buckets(), self.steps),
            DENSE: dense(self.sizes, self.pixel_budget, self.steps),
            MAX: planned(self.sizes, largest, few),
            PER_SHAPE: of_one_size(self.sizes, self.pixel_budget, few),
        }

    def recipe(self) -> dict[str, Any]:
        """Returns the recipe of a training run like it."""
        return {
            "data": {"name": "drawn"},
            "model": {"name": "fcn", "channels": self.channels, "dtype": self.dtype},
            "head": {"pool_at": 0},
            "optimizer": {"name": "sgd", "learning_rate": RATE, "momentum": MOMENTUM},
            "max_buckets": self.shapes,
            "pixel_budget": self.pixel_budget,
            "batch_size": len(self.sizes),
        }

    def draw(self, rows: Rows) -> tuple[np.ndarray, np.ndarray]:
        """Returns images [B, *S, C], with values everywhere, and labels [B]."""
        rng = np.random.default_rng(rows.program)
        images = rng.standard_normal((*rows.program, self.in_channels), np.float32)
        return images, rng.integers(0, self.classes, len(rows.sizes)).astype(np.int32)


class StretchArm:
    """Our train step on the batches of a stretch, compiled at its first turn.

    Args:
        work: whose network is trained.
        stretch: what it trains on.
        whole: whether every example fills its rectangle, so that the program holds no mask.

    Attributes:
        step: which has compiled the programs.
    """

    def __init__(self, work: Workload, stretch: Stretch, whole: bool):
        graphdef, weights, statistics = split(work.model())
        optimizer = optax.sgd(RATE, momentum=MOMENTUM)
        self.step = CompiledByShape(make_train_step(make_gradient(graphdef), optimizer), donate=(0,))
        self._state = TrainState(jnp.int32(0), weights, statistics, optimizer.init(weights))
        self._clock, self._inputs = jnp.zeros(2, jnp.uint32), []
        for rows in stretch.steps:
            images, labels = (jnp.asarray(array) for array in work.draw(rows))
            batch = UnmaskedBatch.of(images) if whole else Padded(images, jnp.asarray(rows.sizes)).with_zero_padding()
            targets = Targets(labels, jnp.arange(len(labels), dtype=jnp.int32))
            self._inputs.append((rows.program, batch, targets))

    def run(self, turns: int) -> None:
        """Trains on the stretch that many times and waits for the end."""
        for _ in range(turns):
            for program, batch, targets in self._inputs:
                self._state, _ = self.step(program, self._state, batch, targets, self._clock)
        jax.block_until_ready(self._state)


def make_torch_arms(
    work: Workload, stretches: dict[str, Stretch]
) -> tuple[dict[str, TorchStep], dict[str, Stretch], str]:
    """Returns each of PyTorch's arms, what it trains on in a turn, and a note on PyTorch.

    There are none, and the note says why, where there is no PyTorch.
    """
    found = find_torch()
    if isinstance(found, str):
        return {}, {}, found
    few, ours, whole = -(-work.steps // 4), stretches[OURS], stretches[DENSE]
    trained = {
        TORCH["vs_torch_one_by_one"]: ours._replace(steps=ours.steps[:: -(-len(ours.steps) // few)]),
        TORCH["vs_torch_exact_groups"]: of_one_size(work.sizes, work.pixel_budget, 2 * few),
        TORCH["vs_torch_dense"]: whole._replace(steps=whole.steps[:few]),
    }
    _, weights, _ = split(work.model())
    arms, options = {}, {"rate": RATE, "momentum": MOMENTUM, "dtype": work.dtype}
    for key, name in TORCH.items():
        alone = key == "vs_torch_one_by_one"
        steps = one_by_one(trained[name]) if alone else [[rows] for rows in trained[name].steps]
        drawn = [[work.draw(rows) for rows in step] for step in steps]
        arms[name] = TorchStep(*found, weights, drawn, tuned=key == "vs_torch_dense", **options)
        arms[name].choose_threads()
    return arms, trained, f"PyTorch {found[0].__version__}, eager"


def measure(work: Workload, rounds: int = ROUNDS, *, warm_start: bool = True) -> dict[str, Any]:
    """Measures all arms side by side.

    Args:
        work: what to measure.
        rounds: turns of each arm, at least 1, after a first one that compiles.
        warm_start: whether to time the start of a training process too, which runs two of them.

    Returns:
        What `fcnjax bench train --json` writes: the `RATIOS`, our rate over the other's (medians over the rounds of
            each
        round's ratio, None where there is nothing to compare with), their quartiles, `warm_start_s` and `cold_start_s`,
        `host_overhead_ms`, each arm's megapixels of real examples a second, what each was trained on, compilation,
        device and versions.

    Raises:
        ValueError: for fewer than 1 round, or a rectangle beyond the budget.
    """
    if rounds < 1:
        raise ValueError(f"rounds={rounds}: must be at least 1.")
    load = os.getloadavg()[0]
    with _compiled_anew():
        arms = _run_arms(work, rounds)
    spreads, stretches = _ratios(work, arms), arms.stretches
    cold, warm = first_step_seconds(work.recipe(), work.sizes) if warm_start else (None, None)
    return {
        **{name: spreads[name].median if name in spreads else None for name in RATIOS},
        "warm_start_s": warm,
        "cold_start_s": cold,
        "host_overhead_ms": spread(dispatch_ms(rounds)).median,
        "ratio_quartiles": {name: (low, high) for name, (_, low, high) in spreads.items()},
        "targets": {name: target for name, (*_, target) in (RATIOS | FIXED).items()},
        "megapixels_per_s": {name: {**spread(each)._asdict(), "rounds": each} for name, each in arms.rates.items()},
        "stretches": {name: stretch.about() for name, stretch in stretches.items()},
        "vs_dense_by_waste_alone": 1 / (1 + stretches[OURS].about()["waste"]),
        "compile_s": arms.compile_s,
        "torch_note": arms.torch_note,
        "torch_threads": arms.torch_threads,
        **_setting(work, rounds, load),
    }


@contextmanager
def _compiled_anew() -> Iterator[None]:
    """Turns JAX's persistent cache off: the time of compiling is part of what is measured."""
    name = "jax_enable_compilation_cache"
    before = getattr(jax.config, name)
    jax.config.update(name, False)
    try:
        yield
    finally:
        jax.config.update(name, before)


class _Arms(NamedTuple):
    """What the arms did: megapixels a second by round, on what, seconds of a compilation, and how PyTorch ran."""

    rates: dict[str, list[float]]
    stretches: dict[str, Stretch]
    compile_s: dict[str, float]
    torch_note: str
    torch_threads: dict[str, int]


def _run_arms(work: Workload, rounds: int) -> _Arms:
    stretches = work.stretches()
    arms = {name: StretchArm(work, stretch, name in (DENSE, PER_SHAPE)) for name, stretch in stretches.items()}
    torch_arms, torch_stretches, note = make_torch_arms(work, stretches)
    stretches |= torch_stretches
    runs = {name: arm.run for name, arm in arms.items()}
    runs |= {name: partial(_run_turns, arm, len(stretches[name].steps)) for name, arm in torch_arms.items()}
    times = take_turns(runs, rounds, 1)
    rates = {name: [stretches[name].real / each / 1e3 for each in times[name]] for name in times}  # positions / ms
    compile_s = {name: arm.step.seconds / len(arm.step.programs) for name, arm in arms.items()}
    return _Arms(rates, stretches, compile_s, note, {name: arm.threads for name, arm in torch_arms.items()})


def _setting(work: Workload, rounds: int, load: float) -> dict[str, Any]:
    """Returns what was measured on what; `load` is the number of processes that wanted a core when it began."""
    about, rectangles = environment(), work.buckets().shapes.tolist()
    return {
        "shapes": len(rectangles),
        "rectangles": rectangles,
        "workload": {**dataclasses.asdict(work), "sizes": _sizes_about(work.sizes)},
        "rounds": rounds,
        "threads": threads(),
        "load_average": load,
        **{name: about[name] for name in ENVIRONMENT},
    }


def _run_turns(arm: TorchStep, steps: int, turns: int) -> None:
    arm.run(steps * turns)


def _ratios(work: Workload, arms: _Arms) -> dict[str, Spread]:
    """Returns the spreads of `RATIOS`, without those of arms that did not run."""
    rates = arms.rates
    spreads = {"vs_dense": ratio(rates[OURS], rates[DENSE]), "vs_pad_to_max": ratio(rates[OURS], rates[MAX])}
    spreads |= {name: ratio(rates[OURS], rates[arm]) for name, arm in TORCH.items() if arm in rates}
    megapixels = work.epochs * int(areas(work.sizes).sum()) / 1e6  # of a whole run
    seconds = {}
    for name in (OURS, PER_SHAPE):
        compiled = arms.compile_s[name] * arms.stretches[name].epoch_programs
        seconds[name] = [megapixels / rate + compiled for rate in rates[name]]
    return spreads | {"vs_compile_per_shape": ratio(seconds[PER_SHAPE], seconds[OURS])}


def _sizes_about(sizes: np.ndarray) -> dict[str, Any]:
    low, median, high = np.percentile(sizes, (0, 50, 100), axis=0).tolist()
    distinct = len(np.unique(sizes, axis=0))
    return {"examples": len(sizes), "distinct": distinct, "least": low, "median": median, "largest": high}


def table(result: dict[str, Any]) -> Table:
    """Returns what `measure` found as a table: the ratios with their quartiles and targets, then each arm's rate."""
    work, stretches = result["workload"], result["stretches"]
    about, wasted = work["sizes"], stretches[OURS]["waste"]
    median = "x".join(f"{extent:.0f}" for extent in about["median"])
    title = (
        f"training on {about['examples']:,} sizes, {median} at the median, {work['pixel_budget']:,} positions a batch, "
        f"{result['shapes']} shapes (waste {wasted:.3f}), {result['devices']}, {result['threads']} threads, "
        f"{result['rounds']} rounds"
    )
    table = tight_table("", "median", "quartiles", "target", title=title, left=4)
    for name, (meaning, target) in RATIOS.items():
        shown = "-" if result[name] is None else f"{result[name]:.3f}"
        table.add_row(f"{name}\n  {meaning}", shown, between(result["ratio_quartiles"].get(name)), target)
    for name, (meaning, unit, target) in FIXED.items():
        shown = "-" if result[name] is None else f"{result[name]:.2f} {unit}"
        table.add_row(f"{name}\n  {meaning}", shown, "", target)
    table.add_section()
    for name, rate in result["megapixels_per_s"].items():
        table.add_row(f"{name}, Mpx/s", f"{rate['median']:.3f}", between((rate["low"], rate["high"])), "")
    per_shape = stretches[PER_SHAPE]["epoch_programs"], result["compile_s"][PER_SHAPE]
    compiled = f"{per_shape[0]:,} programs of {per_shape[1]:.2f} s, over {work['epochs']} epochs"
    table.caption = f"{result['torch_note']}; a program for each shape: {compiled}"
    return table
