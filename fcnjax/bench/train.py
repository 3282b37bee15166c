"""Training at native sizes, side by side with every alternative, within a budget of time.

Our training pads the examples of a size table to a few planned buckets. The alternatives are the same network on dense
batches of one shape (without the cost of masks and padding), with masks on batches that are full or ragged, with every
batch padded to the largest size, one program for each distinct size, a step written with flax alone, and PyTorch: one
example at a time, in batches of one exact size, and dense, eager and compiled. All take turns; values are random and
already on the device.

Rates count the real examples, the positions inside them (megapixels), and the operations that the network needs for
these (`Workload.train_flops`), as a share of what the device reaches in a large matrix product in the same run.
"""

import dataclasses
import os
from collections.abc import Callable, Sequence
from typing import Any

import jax
import numpy as np
from rich.console import Group
from rich.table import Table

from fcnjax.bench.arms import (
    ARMS,
    EXACT_GROUPS,
    ONE_BY_ONE,
    REPEATABLE,
    TORCH_ARMS,
    TORCH_COMPILE,
    TORCH_DENSE,
    UNREPEATABLE,
    ReadyArm,
    default_arms,
)
from fcnjax.bench.budget import Budget
from fcnjax.bench.overheads import dispatch_ms, first_step_seconds
from fcnjax.bench.peak import matrix_peak
from fcnjax.bench.report import Quantity, Spread, quantity_fields, ratio, report_table, rounds_field, spread
from fcnjax.bench.side_by_side import SideBySide, compilation_cache_off
from fcnjax.bench.workload import DENSE, FLAX, MASKED, MAX, OURS, PER_SHAPE, RAGGED, Workload
from fcnjax.data.size_table import areas
from fcnjax.naming import unknown_name
from fcnjax.table_style import tight_table
from fcnjax.training.compile.compilation import core_count
from fcnjax.training.run.run_folder import environment

ROUNDS = 10  # turns of each timed program
SECONDS = 150.0  # the budget, without the start of the process
WARM_START_S = {"cpu": 10.0}  # that two starts of a training process take, by platform
OTHER_WARM_START_S = 30.0
DISPATCH_S = 5.0  # kept for the time of Python in a step
# In megapixels per second: what our rate is compared with.
OVER = {
    "vs_dense": DENSE,
    "vs_pad_to_max": MAX,
    "vs_torch_one_by_one": ONE_BY_ONE,
    "vs_torch_exact_groups": EXACT_GROUPS,
    "vs_torch_dense": TORCH_DENSE,
    "vs_torch_compile": TORCH_COMPILE,
}
# In images per second: an arm, and what it is compared with.
IMAGES = {
    "mask_speed": (MASKED, DENSE),
    "ragged_vs_torch_compile": (RAGGED, TORCH_COMPILE),
    "dense_vs_flax": (DENSE, FLAX),
    "deterministic_speed": (REPEATABLE, MASKED),
    "deterministic_speed_": (MASKED, UNREPEATABLE),
}
QUANTITIES = {  # the meaning of a ratio names what our rate is compared with
    "vs_dense": Quantity("dense batches of one shape, no masks", "at least 0.80 with 16 shapes, 0.85 with 32"),
    "vs_pad_to_max": Quantity("every batch padded to the largest size", "at least 3"),
    "vs_compile_per_shape": Quantity("a program for each distinct shape, compilation included", "more than 1"),
    "vs_torch_one_by_one": Quantity("PyTorch, one example at a time", "more than 1"),
    "vs_torch_exact_groups": Quantity("PyTorch, batches of one exact size", "more than 1"),
    "vs_torch_dense": Quantity("PyTorch, dense batches of one shape", "at least 0.8"),
    "vs_torch_compile": Quantity("torch.compile, dense batches of one shape"),
    "mask_speed": Quantity("images/s with masks / without", "at least 0.97"),
    "ragged_vs_torch_compile": Quantity("images/s, ragged with masks / torch.compile dense", "at least 1.3 on a GPU"),
    "dense_vs_flax": Quantity("images/s, no masks / a step written with flax"),
    "deterministic_speed": Quantity("images/s with masks, deterministic / not", "at least 0.95"),
    "warm_start_s": Quantity("time from the start of a process to its first step, programs cached", "less than 8", "s"),
    "host_overhead_ms": Quantity("time of Python in a step", "less than 0.5", "ms"),
}


def check_arms(names: Sequence[str]) -> None:
    """Raises ValueError if a name is not an arm's (the message names the nearest one), or there is no name."""
    if not names:
        raise ValueError(f"arms={tuple(names)}: must be one or more of {', '.join(ARMS)}.")
    for name in names:
        if name not in ARMS:
            raise ValueError(unknown_name("arm", name, ARMS))


def measure(
    work: Workload,
    rounds: int = ROUNDS,
    *,
    arms: Sequence[str] | None = None,
    seconds: float = SECONDS,
    warm_start: bool = True,
    save: Callable[[dict[str, Any]], None] = lambda result: None,
) -> dict[str, Any]:
    """Measures the arms side by side, in order of importance as far as the time goes.

    Args:
        work: what to measure.
        rounds: turns of each timed program, at least 1, after a first turn; fewer if the time does not suffice.
        arms: names in `fcnjax.bench.arms.ARMS`; None for those that suit the network and the device.
        seconds: the time that all may take, greater than 0. An arm that does not fit is left out; `notes` says so.
        warm_start: whether to time the start of a training process too, which starts two of them.
        save: called with the result so far after each arm and each round. Before the first round, `rounds` is 0 and
            the rates are those of one turn of each arm.

    Returns:
        The result that `fcnjax bench train --json` writes: the `QUANTITIES` (medians over the rounds of each round's
        ratio; None if there is nothing to compare with), quartiles of the ratios, `cold_start_s`; for each arm
        megapixels of real examples per second, examples per second, model TFLOP per second and their share of
        `matrix_peak_tflops` (see `Workload.train_flops`), bytes of memory, what it was trained on; compilation, notes
        on arms that did not run, device and versions.

    Raises:
        ValueError: if `rounds` is below 1, `seconds` or an arm is unusable, an example exceeds the pixel budget, or no
            arm runs.
    """
    if rounds < 1:
        raise ValueError(f"rounds={rounds}: must be at least 1.")
    names = default_arms(work) if arms is None else tuple(arms)
    check_arms(names)
    budget, load = Budget(seconds), os.getloadavg()[0]
    work.stretches  # noqa: B018  (raises before anything is measured)
    overheads: dict[str, Any] = {"warm_start_s": None, "cold_start_s": None, "host_overhead_ms": None}

    def result() -> dict[str, Any]:
        spent = {"seconds": seconds, "seconds_spent": budget.spent, "load_average": load}  # load at the start
        return {**_measured(work, run, peak), **overheads, **spent, **about}

    run = SideBySide(work, names, budget, DISPATCH_S, lambda: save(result()))
    with compilation_cache_off():  # around all: JAX decides about the cache when it first compiles
        peak, about = matrix_peak(work.dtype, work.precision), environment(work.compile_settings)
        if warm_start:  # first, while this process holds little of the device
            _time_starts(work, budget, overheads, run.notes)
        run.prepare()
        if not run.ready:
            raise ValueError(f"arms={', '.join(names)}: none could run: {run.notes}.")
        run.measure(rounds)
        overheads["host_overhead_ms"] = spread(dispatch_ms(run.rounds)).median
    return result()


def platform() -> str:
    """Returns the kind of device that JAX computes on, such as "cpu" or "gpu"."""
    return jax.default_backend()


def _time_starts(work: Workload, budget: Budget, overheads: dict[str, Any], notes: dict[str, str]) -> None:
    """Measures the start of a training process, or notes why not."""
    if reason := budget.why_not(WARM_START_S.get(platform(), OTHER_WARM_START_S), ()):
        notes["warm_start_s"] = reason
        return
    try:
        overheads["cold_start_s"], overheads["warm_start_s"] = first_step_seconds(work.recipe(), work.sizes)
    except RuntimeError as error:
        notes["warm_start_s"] = str(error)


def _measured(work: Workload, run: SideBySide, peak: float) -> dict[str, Any]:
    """Returns the fields of a result that follow from the times of the arms."""
    times, arms = run.milliseconds, run.ready
    per_second = {name: [1e3 / each for each in times[name]] for name in times}  # turns

    def rates(amount: Callable[[ReadyArm], float]) -> dict[str, list[float]]:
        amounts = {name: amount(arm) for name, arm in arms.items()}
        return {name: [amounts[name] * each for each in per_second[name]] for name in arms}

    pixels, images = rates(lambda arm: arm.stretch.real / 1e6), rates(lambda arm: arm.stretch.examples)
    tflops = _medians(rates(lambda arm: arm.flops / 1e12))
    about = {name: arm.stretch.about() for name, arm in arms.items()}
    compile_s = {name: arm.compile_s for name, arm in arms.items() if arm.compile_s is not None}
    return {
        **quantity_fields(QUANTITIES, _ratios(work, run, pixels, images)),
        "megapixels_per_s": rounds_field(pixels),
        "images_per_s": _medians(images),
        "model_tflops_per_s": tflops,
        "peak_share": {name: each * 1e12 / peak for name, each in tflops.items()},
        "matrix_peak_tflops": peak / 1e12,
        "memory_bytes": {name: arm.memory_bytes for name, arm in arms.items()},
        "stretches": about,
        "vs_dense_by_waste_alone": 1 / (1 + work.stretches[OURS].about()["waste"]),
        "compile_s": compile_s,
        "torch_note": run.maker.torch_note if any(name in TORCH_ARMS for name in (*arms, *run.notes)) else "",
        "torch_threads": {name: arm.threads for name, arm in arms.items() if arm.threads is not None},
        "notes": dict(run.notes),
        "still_compiling": bool(run.maker.compiled.given_up),
        "shapes": len(work.buckets.shapes),
        "rectangles": work.buckets.shapes.tolist(),
        "workload": {**dataclasses.asdict(work), "sizes": _about_sizes(work.sizes)},
        "dtype": work.dtype,
        "precision": work.precision,
        "rounds": run.rounds,
        "threads": core_count(),
    }


def _medians(rounds: dict[str, list[float]]) -> dict[str, float]:
    return {name: spread(each).median for name, each in rounds.items()}


def _ratios(
    work: Workload, run: SideBySide, pixels: dict[str, list[float]], images: dict[str, list[float]]
) -> dict[str, Spread]:
    """Returns the spread of each ratio in `QUANTITIES` whose arms ran."""
    spreads = {}
    for key, name in OVER.items():
        if OURS in pixels and name in pixels:
            spreads[key] = ratio(pixels[OURS], pixels[name])
    for key, (name, other) in IMAGES.items():
        if name in images and other in images:
            spreads[key.rstrip("_")] = ratio(images[name], images[other])
    if OURS in pixels and PER_SHAPE in pixels:
        megapixels = work.epochs * int(areas(work.sizes).sum()) / 1e6  # of a whole run
        seconds = {}
        for name in (OURS, PER_SHAPE):
            arm = run.ready[name]
            compiled = (arm.compile_s or 0) * arm.stretch.epoch_programs
            seconds[name] = [megapixels / rate + compiled for rate in pixels[name]]
        spreads["vs_compile_per_shape"] = ratio(seconds[PER_SHAPE], seconds[OURS])
    return spreads


def _about_sizes(sizes: np.ndarray) -> dict[str, Any]:
    low, median, high = np.percentile(sizes, (0, 50, 100), axis=0).tolist()
    distinct = len(np.unique(sizes, axis=0))
    return {"examples": len(sizes), "distinct": distinct, "least": low, "median": median, "largest": high}


def table(result: dict[str, Any]) -> Group:
    """Returns the result of `measure` as tables: the ratios with their quartiles and targets, then the arms."""
    work, about = result["workload"], result["workload"]["sizes"]
    median = "x".join(f"{extent:.0f}" for extent in about["median"])
    waste = 1 / result["vs_dense_by_waste_alone"] - 1
    title = (
        f"training {work['network']}, {work['dtype']}, products in {work['precision']}, on {about['examples']:,} "
        f"sizes, {median} at the median, {work['pixel_budget']:,} positions a batch, {result['shapes']} buckets (waste "
        f"{waste:.3f})"
    )
    missing = {key for key, name in OVER.items() if name in result["notes"]}  # wanted, but did not run
    shown = {name: each for name, each in QUANTITIES.items() if result[name] is not None or name in missing}
    ratios = report_table(result, shown, title, "megapixels_per_s", "Mpx/s")
    ratios.caption = result["torch_note"]
    if PER_SHAPE in result["stretches"]:
        programs, seconds = result["stretches"][PER_SHAPE]["epoch_programs"], result["compile_s"][PER_SHAPE]
        ratios.caption += (
            f"; a program for each shape: {programs:,} programs of {seconds:.2f} s, over {work['epochs']} epochs"
        )
    return Group(ratios, _arms_table(result), *(f"{name}: {note}" for name, note in result["notes"].items()))


def _arms_table(result: dict[str, Any]) -> Table:
    title = f"model operations; a large matrix product reaches {result['matrix_peak_tflops']:,.2f} TFLOP/s"
    shown = tight_table("", "images/s", "TFLOP/s", "of peak", "MiB", "compile s", title=title)
    for name, images in result["images_per_s"].items():
        memory, compiled = result["memory_bytes"][name], result["compile_s"].get(name)
        shown.add_row(
            name,
            f"{images:,.1f}",
            f"{result['model_tflops_per_s'][name]:,.3f}",
            f"{result['peak_share'][name]:.1%}",
            "-" if memory is None else f"{memory / 2**20:,.0f}",
            "-" if compiled is None else f"{compiled:.1f}",
        )
    return shown
