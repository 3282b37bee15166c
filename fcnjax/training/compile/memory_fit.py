"""Batch sizes that fit a device's memory, read from compiled programs before anything runs.

Axes: B rows of a batch. The one idea: the memory of a program is a constant (weights, optimizer state) plus a share for
each row. Two compilations therefore predict how many rows fit a budget, and a few more confirm it. Compiling takes no
memory on the device.
"""

import math
import os
from collections.abc import Callable
from functools import cache
from typing import Any

import jax

from fcnjax.naming import joined
from fcnjax.training.compile.compilation import Compilation

ProgramBytes = Callable[[tuple[int, ...], int], int]  # bucket shape [D], rows B -> bytes of its program

LINEAR_TRIALS = 8  # compilations for which memory is assumed to be nearly linear in the rows
MAX_ROWS = 65_536


def largest_batch_size(
    program_bytes: ProgramBytes,
    shape: tuple[int, ...],
    budget_bytes: int,
    *,
    multiple_of: int = 1,
    max_rows: int = MAX_ROWS,
) -> int:
    """Returns the largest number of rows that fits a budget; the next multiple was compiled and does not fit.

    Args:
        program_bytes: compiles for a bucket shape and a number of rows, and returns the bytes needed, which should grow
            with the rows. It is called four or five times if the growth is nearly linear.
        shape: extents [D] of the bucket.
        budget_bytes: bytes that may be used, such as 0.9 times `device_memory_bytes()`.
        multiple_of: only multiples of this are considered, such as the number of devices; at least 1.
        max_rows: larger numbers are not tried; at least `multiple_of`.

    Returns:
        A multiple of `multiple_of`, at most `max_rows`.

    Raises:
        ValueError: if not even `multiple_of` rows fit, or an argument is outside its range.

    Source: derived here: the secant method on whole numbers, inside a bracket.

    >>> largest_batch_size(lambda shape, rows: 1000 + 24 * rows, (4, 6), budget_bytes=1500, multiple_of=8)
    16
    """
    if not 1 <= multiple_of <= max_rows:
        raise ValueError(f"multiple_of={multiple_of}: must be 1 to max_rows={max_rows}.")
    limit = max_rows // multiple_of
    bytes_of = cache(lambda units: program_bytes(shape, units * multiple_of))
    if bytes_of(1) > budget_bytes:
        rows = f"{multiple_of} row{'s' * (multiple_of > 1)} of bucket {joined(shape)}"
        raise ValueError(
            f"budget_bytes={budget_bytes:,}: {rows} need {bytes_of(1):,}; raise the budget, or make the bucket or the "
            "network smaller."
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
        if len(compiled) > LINEAR_TRIALS:  # the memory grows in leaps: halve the bracket
            guess = (fits + exceeds) // 2
        else:
            guess = int(min(guess + (budget_bytes - here) / slope, limit)) if slope > 0 else 2 * guess
    return fits * multiple_of


def rows_that_fit(job: Compilation, budget_bytes: int, multiple_of: int, max_rows: int = MAX_ROWS) -> int:
    """Returns the largest number of rows of one program of a run (see `largest_batch_size`)."""

    def program_bytes(_: tuple[int, ...], rows: int) -> int:
        return compiled_bytes(job.programs.compile_for(*job.args_of(rows)))

    return largest_batch_size(program_bytes, job.shape, budget_bytes, multiple_of=multiple_of, max_rows=max_rows)


def too_large(job: Compilation, budget_bytes: int, multiple_of: int) -> str:
    """Returns the message for a program that needs more memory than a budget; it states how many rows would fit."""
    extent, area = joined(job.shape), math.prod(job.shape)
    needed = compiled_bytes(job.programs.compile(job.shape, *job.args))
    problem = (
        f"bucket {extent}: a program with {job.rows} rows needs {needed / 2**30:,.1f} GiB, the device has "
        f"{budget_bytes / 2**30:,.1f} GiB"
    )
    try:
        rows = rows_that_fit(job, budget_bytes, multiple_of, job.rows)
    except ValueError:
        fewest = f"{multiple_of} rows fit" if multiple_of > 1 else "one row fits"
        return (
            f"{problem}; not even {fewest}: make the examples (config.size) or the network smaller, or set "
            "config.remat."
        )
    return f"{problem}; {rows} rows fit: set config.pixel_budget={rows * area}, or config.remat."


def compiled_bytes(compiled: Any) -> int:
    """Returns the bytes on the device while a program runs: arguments, temporaries, and outputs in new memory.

    Args:
        compiled: the program that `jax.jit(function).lower(...).compile()` returns.

    Raises:
        ValueError: if the backend does not analyze memory.
    """
    memory = compiled.memory_analysis()
    if memory is None:
        raise ValueError(
            f"backend={jax.default_backend()}: does not report the memory of a program; set config.pixel_budget."
        )
    new_outputs = memory.output_size_in_bytes - memory.alias_size_in_bytes
    return int(memory.argument_size_in_bytes + new_outputs + memory.temp_size_in_bytes)


def device_memory_bytes(device: Any = None) -> int:
    """Returns the bytes that programs may use: what the device's allocator allows, or a CPU machine's memory.

    Args:
        device: a `jax.Device`; default: the first one of this host.
    """
    device = jax.local_devices()[0] if device is None else device
    statistics = device.memory_stats() or {}
    if "bytes_limit" in statistics:
        return int(statistics["bytes_limit"])
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
