"""How far "alone equals padded" holds: the worst relative differences, for each network, precision and dtype.

Weights and statistics are random, scaled so that values stay of order 1: with fresh ones most errors would be exactly
0. Three answers are compared, each with itself under other padding:

- logits: each of a few examples alone at its own size, and with batch mates and filler rows in a larger shape;
- gradients of the training loss by all weights, and the running statistics after that training step, in which batch
  norm mixes the examples: the batch in the smallest shape that holds it, and in a larger shape, with filler rows and in
  another order.

In the training step, SiLU stands in place of ReLU and the mean of a window in place of its maximum. Their gradients
jump: of the millions of units of a network a few always lie within rounding of 0, or of another maximum, and a single
one that falls on the other side changes the gradient of a weight by up to a tenth (ResNet-18, float32: 5e-2 instead of
1e-5; in float64, where rounding is finer, 1e-14 with ReLU too). That would hide what precision costs.

A difference is relative to the largest value of its array: of the logits of an example, of the gradient of a weight, of
the statistics of a layer. A gradient that is small throughout because its terms cancel is compared with a hundredth of
the largest gradient of the network. The worst one counts.
"""

import concurrent.futures
import contextlib
import dataclasses
import os
import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import jax
from rich.table import Table

from fcnjax import models
from fcnjax.atomic import write_json
from fcnjax.bench.padded_answers import DETERMINISTIC, Comparison, Mode, Workload
from fcnjax.bench.report import spread
from fcnjax.naming import first_line, unknown_name
from fcnjax.progress import Bar, progress_bar
from fcnjax.table_style import tight_table
from fcnjax.training.compile.compilation import core_count
from fcnjax.training.run.run_folder import environment

NETWORKS = ("fcn", "resnet18", "resnet50", "convnext_tiny", "efficientnet_b0")
SECONDS = 900.0
TIMED_S = 1.5  # seconds kept to time the steps of one network in one mode
ANSWERS = ("logits", "gradients", "statistics")
EXACT, TF32, HALF = Mode("float32", "float32"), Mode("float32", "tf32"), Mode("bfloat16", "float32")
# In bfloat16 only the head multiplies float32 numbers, so that TF32 would change little there.
MODES = (EXACT, TF32, HALF)


def measure(
    networks: Sequence[str] = NETWORKS,
    seconds: float = SECONDS,
    work: Workload | None = None,
    path: Path | str | None = None,
) -> dict[str, Any]:
    """Compares networks in all modes of the device, one network after the other; times their steps at the end.

    Args:
        networks: keys of `fcnjax.models.MODELS`.
        seconds: limit; what is not compiled by then is left out with a note.
        work: what is compared; None: `Workload.for_device()`.
        path: JSON file that holds the result so far after every comparison; None writes nothing.

    Returns:
        The result that `fcnjax bench exactness --json` writes: `networks`, by name and mode, each with `mode`, `worst`
        (the worst relative difference of each of `ANSWERS`; no statistics without a batch norm), `step_ms`
        (milliseconds of a forward and backward pass over the training batch, with quartiles) and `time_ratio` (of
        these to float32's), or with a `note` on what is missing; the workload, device and versions.

    Raises:
        ValueError: if a network is unknown.
    """
    for name in networks:
        if name not in models.MODELS:
            raise ValueError(unknown_name("model", name, models.MODELS))
    work, end = work or Workload.for_device(), time.monotonic() + seconds
    cells: dict[str, dict[str, Any]] = {name: {} for name in networks}
    load = os.getloadavg()[0]  # at the start: how many processes wanted a core
    about = {"workload": dataclasses.asdict(work), "seconds": seconds, "load_average": load}
    result = {"networks": cells, **about, **environment(DETERMINISTIC)}

    def note(name: str, mode: Mode, **found: Any) -> None:
        cells[name].setdefault(mode.name, {"mode": mode.name}).update(found)
        if path is not None:
            write_json(path, result)

    modes = [mode for mode in MODES if mode.precision != "tf32" or jax.default_backend() == "gpu"]
    for name in networks:
        for mode in MODES:
            note(name, mode, **({} if mode in modes else {"note": f"this {jax.default_backend()} has no TF32"}))
    todo = [(name, mode) for mode in modes for name in networks]  # full precision first, of all networks
    reserve = min(0.2 * seconds, TIMED_S * len(todo))
    pool = concurrent.futures.ThreadPoolExecutor(core_count())
    with progress_bar(total=len(todo), title="exactness", unit=" comparisons") as bar:
        started: list[Comparison] = []
        compared = _compare_all(todo, work, end - reserve, pool, bar, note, started)
    pool.shutdown(wait=False, cancel_futures=True)
    for one in compared:  # now that nothing compiles beside them
        if time.monotonic() < end:
            with _noted(one.name, one.mode, note):
                note(one.name, one.mode, step_ms=spread(one.step_ms())._asdict())
                _add_ratios(cells[one.name])
    result["still_compiling"] = not all(future.done() for one in started for future in one.compiling)
    if path is not None:
        write_json(path, result)
    return result


def _compare_all(
    todo: Sequence[tuple[str, Mode]],
    work: Workload,
    end: float,
    pool: concurrent.futures.Executor,
    bar: Bar,
    note: Callable[..., None],
    started: list[Comparison],
) -> list[Comparison]:
    """Returns the comparisons that could be made until `end` (monotonic). While one compiles, the next ones are traced.

    Args:
        todo: networks and modes, in order.
        work: what is compared.
        end: when to stop.
        pool: threads that compile.
        bar: progress.
        note: takes the network, the mode and what was found.
        started: gets all comparisons whose programs compile.
    """
    waiting: deque[Comparison] = deque()
    compared: list[Comparison] = []

    def finish_first() -> None:
        one = waiting.popleft()
        with _noted(one.name, one.mode, note):
            note(one.name, one.mode, worst=one.worst(end - time.monotonic()))
            compared.append(one)
        bar.update()

    for name, mode in todo:
        bar.set_postfix_str(f"{name} in {mode.name}")
        with _noted(name, mode, note):
            if time.monotonic() >= end:
                raise TimeoutError
            started.append(Comparison(name, mode, work, pool))
            waiting.append(started[-1])
        while waiting and waiting[0].ready:
            finish_first()
    while waiting:
        finish_first()
    return compared


@contextlib.contextmanager
def _noted(name: str, mode: Mode, note: Callable[..., None]) -> Iterator[None]:
    """Notes an error: one network that this device cannot compute must not cost the others."""
    try:
        yield
    except TimeoutError:
        note(name, mode, note="left out: its time was over")
    except Exception as error:
        note(name, mode, note=f"failed: {type(error).__name__}: {first_line(error)}")


def _add_ratios(modes: Mapping[str, dict[str, Any]]) -> None:
    """Adds how long a step takes relative to float32."""
    base = modes[EXACT.name].get("step_ms")
    for cell in modes.values():
        if base and "step_ms" in cell:
            cell["time_ratio"] = cell["step_ms"]["median"] / base["median"]


def table(result: Mapping[str, Any]) -> Table:
    """Returns the result as a table: a row for each network and mode."""
    work = result["workload"]
    title = f"alone against padded, worst relative difference, {result['devices']}, {work['batch_size']} images"
    shown = tight_table("network", "mode", *ANSWERS, "ms", "time", title=title, left=2)
    for name, cells in result["networks"].items():
        for cell in cells.values():
            worst = [f"{cell['worst'][each]:.1e}" if each in cell.get("worst", {}) else "-" for each in ANSWERS]
            times = ("-", "-")
            if "step_ms" in cell:
                times = f"{cell['step_ms']['median']:.1f}", f"{cell.get('time_ratio', float('nan')):.2f}"
            shown.add_row(name, cell["mode"], *worst, *times)
    cells = [cell for each in result["networks"].values() for cell in each.values()]
    shown.caption = "; ".join(sorted({f"{cell['mode']}: {cell['note']}" for cell in cells if "note" in cell})) or None
    return shown
