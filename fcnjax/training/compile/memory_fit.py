"""Batch sizes that fit a device's memory, read off compiled programs before anything runs.

Axes: B rows of a batch, D spatial axes, C channels, K rectangles. The one idea: the memory of a program is a constant
(weights, optimizer state) plus a share per row, so two compilations tell about where a budget ends, and a few more
prove it. Compiling takes no memory on the device.
"""

import math
import os
from collections.abc import Callable
from functools import cache
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from fcnjax.data import BucketPlan
from fcnjax.naming import joined
from fcnjax.padded import Padded
from fcnjax.training.compile.compilation import Compilation, jit
from fcnjax.training.step.step import Targets, TrainState

ProgramBytes = Callable[[tuple[int, ...], int], int]  # rectangle [D], rows B -> bytes of its program

LINES = 8  # compilations whose memory is taken to lie near a straight line


def largest_batch_size(
    program_bytes: ProgramBytes,
    shape: tuple[int, ...],
    budget_bytes: int,
    *,
    multiple_of: int = 1,
    most: int = 65_536,
) -> int:
    """The most rows of one rectangle whose program fits a budget; the next multiple was compiled and does not fit.

    Args:
        program_bytes: Compiles for a rectangle and a batch size, and returns the bytes needed; should grow with the
            batch size. Nearer to a straight line means fewer compilations: four or five as a rule.
        shape: Extents [D] of the rectangle.
        budget_bytes: What may be used, such as 0.9 times `device_memory_bytes()`.
        multiple_of: Only multiples of this are considered, such as the number of devices; at least 1.
        most: Larger ones are not tried; at least `multiple_of`.

    Returns:
        A multiple of `multiple_of`, at most `most`.

    Raises:
        ValueError: Not even `multiple_of` rows fit, or an argument is outside its range.

    Source: derived here: the secant method on whole numbers, inside a bracket.

    >>> largest_batch_size(lambda shape, rows: 1000 + 24 * rows, (4, 6), budget_bytes=1500, multiple_of=8)
    16
    """
    if not 1 <= multiple_of <= most:
        raise ValueError(f"multiple_of: got {multiple_of}; allowed is 1 to `most`, which is {most}")
    limit = most // multiple_of
    bytes_of = cache(lambda units: program_bytes(shape, units * multiple_of))
    if bytes_of(1) > budget_bytes:
        rows = f"{multiple_of} row{'s' * (multiple_of > 1)} of rectangle {joined(shape)}"
        raise ValueError(
            f"budget_bytes: got {budget_bytes:,}; {rows} take {bytes_of(1):,}; raise the budget, or make the rectangle "
            "or the network smaller"
        )
    fits, exceeds, compiled, guess = 1, limit + 1, [1], 2
    while exceeds - fits > 1:
        guess = min(max(guess, fits + 1), exceeds - 1)
        here, last = bytes_of(guess), compiled[-1]
        slope = (here - bytes_of(last)) / (guess - last)
        compiled.append(guess)
        if here <= budget_bytes:
            fits = guess
        else:
            exceeds = guess
        if len(compiled) > LINES:  # the memory grows in leaps: halve what is left
            guess = (fits + exceeds) // 2
        else:
            guess = int(min(guess + (budget_bytes - here) / slope, limit)) if slope > 0 else 2 * guess
    return fits * multiple_of


def fit_batch_sizes(
    plan: BucketPlan, program_bytes: ProgramBytes, budget_bytes: int, *, multiple_of: int = 1, most: int = 65_536
) -> BucketPlan:
    """The rectangles of a plan with the most rows each whose program fits; arguments as for `largest_batch_size`."""
    rows = [
        largest_batch_size(program_bytes, tuple(shape), budget_bytes, multiple_of=multiple_of, most=most)
        for shape in plan.shapes.tolist()
    ]
    return BucketPlan(plan.shapes, np.array(rows))


def train_step_bytes(
    step: Callable[..., tuple[TrainState, jax.Array]],
    state: TrainState,
    channels: int,
    dtype: Any = jnp.float32,
    *,
    remat: bool = False,
) -> ProgramBytes:
    """Returns the function that `largest_batch_size` wants, for a train step whose state is donated.

    Args:
        step: From `make_train_step`.
        state: Its state, or the shapes of one (`jax.eval_shape`).
        channels: C of the examples.
        dtype: Of the values of a batch.
        remat: As for `jit`.
    """
    jitted = jit(step, donate=(0,), remat=remat)
    state = jax.tree.map(lambda leaf: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype), state)

    def program_bytes(shape: tuple[int, ...], rows: int) -> int:
        values: Any = jax.ShapeDtypeStruct((rows, *shape, channels), dtype)
        sizes: Any = jax.ShapeDtypeStruct((rows, len(shape)), jnp.int32)
        per_row: Any = jax.ShapeDtypeStruct((rows,), jnp.int32)
        seed_and_epoch = jax.ShapeDtypeStruct((2,), jnp.uint32)
        return compiled_bytes(
            jitted.lower(state, Padded(values, sizes), Targets(per_row, per_row), seed_and_epoch).compile()
        )

    return program_bytes


def rows_that_fit(job: Compilation, budget_bytes: int, multiple_of: int, most: int = 65_536) -> int:
    """The most rows that a program of a run may have; arguments, result and errors as for `largest_batch_size`."""

    def program_bytes(_: tuple[int, ...], rows: int) -> int:
        return compiled_bytes(job.programs.compile_apart(*job.args_of(rows)))

    return largest_batch_size(program_bytes, job.shape, budget_bytes, multiple_of=multiple_of, most=most)


def too_large(job: Compilation, budget_bytes: int, multiple_of: int) -> str:
    """Returns the sentence that refuses a program which needs more than a budget, with the rows that would fit."""
    extent, area = joined(job.shape), math.prod(job.shape)
    needed = compiled_bytes(job.programs.compile(job.shape, *job.args))
    said = (
        f"rectangle {extent}: a program with {job.rows} rows of it needs {needed / 2**30:,.1f} GiB, the device has "
        f"{budget_bytes / 2**30:,.1f} GiB"
    )
    try:
        rows = rows_that_fit(job, budget_bytes, multiple_of, job.rows)
    except ValueError:
        least = f"{multiple_of} rows fit" if multiple_of > 1 else "one row fits"
        return f"{said}; not even {least}: make the examples (config.size) or the network smaller, or set config.remat."
    return f"{said}; {rows} rows fit: set config.pixel_budget={rows * area}, or config.remat."


def compiled_bytes(compiled: Any) -> int:
    """Bytes on the device while a compiled program runs: arguments, outputs that share none of them, temporaries.

    Args:
        compiled: What `jax.jit(function).lower(...).compile()` returns.

    Raises:
        ValueError: The backend has no analysis of memory.
    """
    memory = compiled.memory_analysis()
    if memory is None:
        raise ValueError(f"backend {jax.default_backend()}: tells no program's memory; choose batch sizes by a budget")
    fresh = memory.output_size_in_bytes - memory.alias_size_in_bytes
    return int(memory.argument_size_in_bytes + fresh + memory.temp_size_in_bytes)


def device_memory_bytes(device: Any = None) -> int:
    """Bytes that programs on a device may use: what its allocator allows, or the machine's memory on a CPU.

    Args:
        device: A `jax.Device`; default: the first one.
    """
    device = jax.devices()[0] if device is None else device
    statistics = device.memory_stats() or {}
    if "bytes_limit" in statistics:
        return int(statistics["bytes_limit"])
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
