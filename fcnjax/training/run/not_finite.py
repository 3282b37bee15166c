"""The report of a step whose loss or weights are not finite: a message, and a file that lists its examples."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import jax
import numpy as np

from fcnjax.atomic import write_json
from fcnjax.data import Batch, Source

NOT_FINITE = "not_finite"


def report_not_finite(
    folder: Path,
    step: int,
    epoch: int,
    loss: float,
    parts: Sequence[Batch],
    source: Source | None = None,
    *,
    what: str = "training loss",
) -> str:
    """Writes `not_finite.json` into a run folder, and returns the message for a FloatingPointError.

    With several hosts, each lists its own examples, those after the first in `not_finite_host_1.json` and so on.

    The file holds the step, the epoch, the loss (as text: JSON has no NaN), and the id, label and size of each real
    example of the step, with its name if the source has names.

    Args:
        folder: the run folder.
        step: number of the step, counted from 1.
        epoch: counted from 0.
        loss: loss of the step.
        parts: the batches of the step; their values are not read and may be deleted.
        source: source of the examples; None leaves out their names.
        what: start of the message, before the loss.

    Returns:
        What happened, where, and what to do. It names the file unless the file could not be written.
    """
    host = jax.process_index()
    file = folder / (f"{NOT_FINITE}.json" if host == 0 else f"{NOT_FINITE}_host_{host}.json")
    report = {"step": step, "epoch": epoch, "loss": str(float(loss)), "examples": _examples(parts, source)}
    try:
        kept = f" Its {len(report['examples'])} examples are listed in {write_json(file, report)}."
    except OSError:  # a full disk must not hide the error
        kept = ""
    return (
        f"{what} {loss} at step {step} (epoch {epoch}): lower config.optimizer.learning_rate, or set "
        f"config.optimizer.clip_norm. The run folder keeps the earlier steps.{kept}"
    )


def _examples(parts: Sequence[Batch], source: Source | None) -> list[dict[str, Any]]:
    names = None if source is None else source.names
    rows = {} if source is None or not names else {id_: row for row, id_ in enumerate(source.ids.tolist())}
    examples = []
    for part in parts:
        for row in np.flatnonzero(np.asarray(part.ids) >= 0).tolist():
            id_ = int(part.ids[row])
            example = {"id": id_, "label": int(part.labels[row]), "size": np.asarray(part.sizes[row]).tolist()}
            examples.append(example | ({"name": names[rows[id_]]} if names and id_ in rows else {}))
    return examples
