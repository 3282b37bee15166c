"""Training at native sizes, side by side with every alternative, in megapixels of real examples per second.

Our training pads the examples of a size table to a few planned buckets. The alternatives are the same network on dense
batches of one shape (without the cost of masks and padding), every batch padded to the largest size, one program for
each distinct size, and eager PyTorch: one example at a time, in batches of one exact size, and dense. All start from
the same weights and take turns; values are random and already on the device.

Axes: B rows, N examples, D spatial axes, S the spatial axes, C channels.
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
from flax import nnx
from rich.table import Table

from fcnjax import models
from fcnjax.bench.baselines import TorchStep, find_torch
from fcnjax.bench.jax_step import MOMENTUM, RATE, JaxStep, make_step, step_inputs
from fcnjax.bench.native_sizes import Rows, Stretch, dense, of_one_size, one_by_one, planned
from fcnjax.bench.overheads import dispatch_ms, first_step_seconds
from fcnjax.bench.report import Quantity, Spread, quantity_fields, ratio, report_table, rounds_field, spread
from fcnjax.bench.timing import take_turns, threads
from fcnjax.bench.unmasked import UnmaskedBatch
from fcnjax.data import BucketPlan, plan_buckets
from fcnjax.data.planning.baseline_buckets import pad_to_max
from fcnjax.data.size_table import areas
from fcnjax.naming import joined
from fcnjax.padded import Padded
from fcnjax.training.compile.compilation import CompiledByShape
from fcnjax.training.run.run_folder import environment
from fcnjax.training.step.step import split

ROUNDS = 10  # turns of each timed program
OURS, DENSE, MAX, PER_SHAPE = "planned", "dense", "padded to max", "one size a batch"
ONE_BY_ONE, EXACT_GROUPS, TORCH_DENSE = "torch one by one", "torch one size a batch", "torch dense"
TORCH = {"vs_torch_one_by_one": ONE_BY_ONE, "vs_torch_exact_groups": EXACT_GROUPS, "vs_torch_dense": TORCH_DENSE}
QUANTITIES = {  # the meaning of a ratio names what our rate is compared with
    "vs_dense": Quantity("dense batches of one shape, no masks", "at least 0.80 with 16 shapes, 0.85 with 32"),
    "vs_pad_to_max": Quantity("every batch padded to the largest size", "at least 3"),
    "vs_compile_per_shape": Quantity("a program for each distinct shape, compilation included", "more than 1"),
    "vs_torch_one_by_one": Quantity("PyTorch, one example at a time", "more than 1"),
    "vs_torch_exact_groups": Quantity("PyTorch, batches of one exact size", "more than 1"),
    "vs_torch_dense": Quantity("PyTorch, dense batches of one shape", "at least 0.8"),
    "warm_start_s": Quantity("time from the start of a process to its first step, programs cached", "less than 8", "s"),
    "host_overhead_ms": Quantity("time of Python in a step", "less than 0.5", "ms"),
}


@dataclasses.dataclass(frozen=True, eq=False)
class Workload:
    """The network and its data: the forum thread's network, pooling first, on batches of about equally many positions.

    Attributes:
        sizes: int [N, 2], sizes of the examples.
        shapes: maximum number of buckets of our plan, at least 1.
        pixel_budget: maximum number of positions in a batch; at least as many as the largest example has.
        steps: batches in a turn of a timed program, at least 1; the slower programs get fewer.
        epochs: number of epochs that share the time of compilation, at least 1.
        in_channels, kernel, channels, classes: options of the network (see `fcnjax.models.fcn`).
        dtype: dtype of the computation, "float32" or "bfloat16".

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
                f"sizes: example {small[0]} of size {size} shrinks to one position, for which PyTorch's batch norm has "
                "no variance; give larger sizes, or a larger scale."
            )

    def model(self) -> models.Classifier:
        """Returns the network."""
        options = {name: getattr(self, name) for name in ("in_channels", "kernel", "channels", "classes", "dtype")}
        return models.create("fcn", head={"pool_at": 0}, rngs=nnx.Rngs(0), **options)

    def buckets(self) -> BucketPlan:
        """Returns the buckets of our training."""
        return plan_buckets(self.sizes, self.shapes, pixel_budget=self.pixel_budget)

    def stretches(self) -> dict[str, Stretch]:
        """Returns the batches that each timed program in JAX trains on."""
        few, largest = -(-self.steps // 4), pad_to_max(self.sizes).with_budget(self.pixel_budget)
        return {
            OURS: planned(self.sizes, self.buckets(), self.steps),
            DENSE: dense(self.sizes, self.pixel_budget, self.steps),
            MAX: planned(self.sizes, largest, few),
            PER_SHAPE: of_one_size(self.sizes, self.pixel_budget, few),
        }

    def recipe(self) -> dict[str, Any]:
        """Returns the recipe of a training run of this network and plan, as nested dictionaries."""
        return {
            "data": {"name": "drawn"},
            "model": {"name": "fcn", "channels": self.channels, "activation": "relu", "dtype": self.dtype},
            "head": {"pool_at": 0},
            "optimizer": {"name": "sgd", "learning_rate": RATE, "momentum": MOMENTUM, "warmup": 0, "weight_decay": 0},
            "max_buckets": self.shapes,
            "pixel_budget": self.pixel_budget,
            "batch_size": len(self.sizes),
        }

    def draw(self, rows: Rows) -> tuple[np.ndarray, np.ndarray]:
        """Returns random images float32 [B, *S, C], with values in the padding too, and labels int32 [B]."""
        rng = np.random.default_rng(rows.program)
        images = rng.standard_normal((*rows.program, self.in_channels), np.float32)
        return images, rng.integers(0, self.classes, len(rows.sizes)).astype(np.int32)


def make_stretch_step(work: Workload, stretch: Stretch, unmasked: bool) -> tuple[JaxStep, CompiledByShape]:
    """Returns our train step on the batches of a stretch, and its programs, which the first calls compile.

    Args:
        work: the network and the images.
        stretch: the batches.
        unmasked: whether no batch has padding, so that the programs hold no mask.
    """
    step, state = make_step(work.model())
    programs, steps = CompiledByShape(step, donate=(0,)), []
    for rows in stretch.steps:
        images, labels = (jnp.asarray(array) for array in work.draw(rows))
        batch = UnmaskedBatch.of(images) if unmasked else Padded(images, jnp.asarray(rows.sizes)).with_zero_padding()
        steps.append((partial(programs, rows.program), step_inputs(batch, labels)))
    return JaxStep(state, steps), programs


def make_torch_steps(
    work: Workload, stretches: dict[str, Stretch]
) -> tuple[dict[str, TorchStep], dict[str, Stretch], str]:
    """Returns each of PyTorch's steps, the stretch that it trains on, and a note on PyTorch.

    If PyTorch cannot be used, both dictionaries are empty and the note says why.
    """
    found = find_torch()
    if isinstance(found, str):
        return {}, {}, found
    few, ours, whole = -(-work.steps // 4), stretches[OURS], stretches[DENSE]
    trained = {
        ONE_BY_ONE: ours._replace(steps=ours.steps[:: -(-len(ours.steps) // few)]),
        EXACT_GROUPS: of_one_size(work.sizes, work.pixel_budget, 2 * few),
        TORCH_DENSE: whole._replace(steps=whole.steps[:few]),
    }
    _, weights, _ = split(work.model())
    torch_steps, options = {}, {"rate": RATE, "momentum": MOMENTUM, "dtype": work.dtype}
    for name, stretch in trained.items():
        steps = one_by_one(stretch) if name == ONE_BY_ONE else [[rows] for rows in stretch.steps]
        drawn = [[work.draw(rows) for rows in step] for step in steps]
        torch_steps[name] = TorchStep(*found, weights, drawn, tuned=name == TORCH_DENSE, **options)
        torch_steps[name].choose_threads()
    return torch_steps, trained, f"PyTorch {found[0].__version__}, eager"


def measure(work: Workload, rounds: int = ROUNDS, *, warm_start: bool = True) -> dict[str, Any]:
    """Measures all alternatives side by side.

    Args:
        work: what to measure.
        rounds: turns of each timed program, at least 1, after a first turn that compiles.
        warm_start: whether to time the start of a training process too, which starts two of them.

    Returns:
        The result that `fcnjax bench train --json` writes: the `QUANTITIES` (ratios are our rate over the other's,
        medians over the rounds of each round's ratio; None if there is nothing to compare with), quartiles of the
        ratios, `cold_start_s`, each timed program's megapixels of real examples per second, what each was trained on,
        compilation, device and versions.

    Raises:
        ValueError: if `rounds` is below 1, or an example exceeds the pixel budget.
    """
    if rounds < 1:
        raise ValueError(f"rounds={rounds}: must be at least 1.")
    load = os.getloadavg()[0]
    with _compilation_cache_off():
        timed = _run_all(work, rounds)
    cold, warm = first_step_seconds(work.recipe(), work.sizes) if warm_start else (None, None)
    about = {name: stretch.about() for name, stretch in timed.stretches.items()}
    buckets = work.buckets().shapes.tolist()
    return {
        **quantity_fields(QUANTITIES, _ratios(work, timed)),
        "warm_start_s": warm,
        "cold_start_s": cold,
        "host_overhead_ms": spread(dispatch_ms(rounds)).median,
        "megapixels_per_s": rounds_field(timed.rates),
        "stretches": about,
        "vs_dense_by_waste_alone": 1 / (1 + about[OURS]["waste"]),
        "compile_s": timed.compile_s,
        "torch_note": timed.torch_note,
        "torch_threads": timed.torch_threads,
        "shapes": len(buckets),
        "rectangles": buckets,
        "workload": {**dataclasses.asdict(work), "sizes": _about_sizes(work.sizes)},
        "rounds": rounds,
        "load_average": load,  # at the start: how many processes wanted a core
        "threads": threads(),
        **environment(),
    }


@contextmanager
def _compilation_cache_off() -> Iterator[None]:
    """Turns JAX's persistent cache off, since the time of compilation is measured."""
    name = "jax_enable_compilation_cache"
    before = getattr(jax.config, name)
    jax.config.update(name, False)
    try:
        yield
    finally:
        jax.config.update(name, before)


class _Timed(NamedTuple):
    """The measurements of the timed programs, by name.

    Attributes:
        rates: megapixels of real examples per second, in each round.
        stretches: the batches that each was trained on.
        compile_s: mean seconds of a compilation.
        torch_note: how PyTorch ran, or why it did not.
        torch_threads: number of CPU threads.
    """

    rates: dict[str, list[float]]
    stretches: dict[str, Stretch]
    compile_s: dict[str, float]
    torch_note: str
    torch_threads: dict[str, int]


def _run_all(work: Workload, rounds: int) -> _Timed:
    stretches, steps, programs = work.stretches(), {}, {}
    for name, stretch in stretches.items():
        steps[name], programs[name] = make_stretch_step(work, stretch, unmasked=name in (DENSE, PER_SHAPE))
    torch_steps, torch_stretches, note = make_torch_steps(work, stretches)
    stretches |= torch_stretches
    whole = {name: partial(_run_stretch, step, stretches[name]) for name, step in (steps | torch_steps).items()}
    times = take_turns(whole, rounds, 1)
    rates = {name: [stretches[name].real / each / 1e3 for each in times[name]] for name in times}  # positions / ms
    compile_s = {name: each.seconds / len(each.programs) for name, each in programs.items()}
    return _Timed(rates, stretches, compile_s, note, {name: step.threads for name, step in torch_steps.items()})


def _run_stretch(step: JaxStep | TorchStep, stretch: Stretch, times: int) -> None:
    step.run(times * len(stretch.steps))


def _ratios(work: Workload, timed: _Timed) -> dict[str, Spread]:
    """Returns the spread of each ratio in `QUANTITIES`; ratios to PyTorch are left out if it did not run."""
    rates = timed.rates
    spreads = {"vs_dense": ratio(rates[OURS], rates[DENSE]), "vs_pad_to_max": ratio(rates[OURS], rates[MAX])}
    spreads |= {key: ratio(rates[OURS], rates[name]) for key, name in TORCH.items() if name in rates}
    megapixels = work.epochs * int(areas(work.sizes).sum()) / 1e6  # of a whole run
    seconds = {}
    for name in (OURS, PER_SHAPE):
        compiled = timed.compile_s[name] * timed.stretches[name].epoch_programs
        seconds[name] = [megapixels / rate + compiled for rate in rates[name]]
    return spreads | {"vs_compile_per_shape": ratio(seconds[PER_SHAPE], seconds[OURS])}


def _about_sizes(sizes: np.ndarray) -> dict[str, Any]:
    low, median, high = np.percentile(sizes, (0, 50, 100), axis=0).tolist()
    distinct = len(np.unique(sizes, axis=0))
    return {"examples": len(sizes), "distinct": distinct, "least": low, "median": median, "largest": high}


def table(result: dict[str, Any]) -> Table:
    """Returns the result of `measure` as a table: the ratios with their quartiles and targets, then each rate."""
    work, about = result["workload"], result["workload"]["sizes"]
    median = "x".join(f"{extent:.0f}" for extent in about["median"])
    title = (
        f"training on {about['examples']:,} sizes, {median} at the median, {work['pixel_budget']:,} positions a batch, "
        f"{result['shapes']} buckets (waste {result['stretches'][OURS]['waste']:.3f})"
    )
    table = report_table(result, QUANTITIES, title, "megapixels_per_s", "Mpx/s")
    programs, seconds = result["stretches"][PER_SHAPE]["epoch_programs"], result["compile_s"][PER_SHAPE]
    table.caption = (
        f"{result['torch_note']}; a program for each shape: {programs:,} programs of {seconds:.2f} s, "
        f"over {work['epochs']} epochs"
    )
    return table
