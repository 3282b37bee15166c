"""What is left of a step whose loss was not finite: one sentence, and a file that names its examples."""

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
    """Writes `not_finite.json` into a run folder, and returns what FloatingPointError is to say.

    With several hosts each writes of its own examples; those after the first to `not_finite_host_1.json` and so on.

    The file holds the step, the epoch, the loss (as text: JSON knows no NaN) and of each real example of the step its
    id, label and size, and its name where the source has names.

    Args:
        folder: the run folder.
        step: number of the step, counted from 1.
        epoch: counted from 0.
        loss: what is not finite.
        parts: the batches that the step is made of; their values are not read, and may be gone.
        source: what the examples come from; None names none of them.
        what: the sentence begins with, before the loss.

    Returns:
        One sentence on what happened, where, and what to do; where the file cannot be written it is not spoken of.
    """
    host = jax.process_index()
    file = folder / (f"{NOT_FINITE}.json" if host == 0 else f"{NOT_FINITE}_host_{host}.json")
    report = {"step": step, "epoch": epoch, "loss": str(float(loss)), "examples": _examples(parts, source)}
    try:
        kept = f" Its {len(report['examples'])} examples are listed in {write_json(file, report)}."
    except OSError:  # a full disk must not hide what happened
        kept = ""
    return (
        f"{what} {loss} at step {step} (epoch {epoch}): lower config.optimizer.learning_rate, or set "
        f"config.optimizer.clip_norm. The run folder keeps what came before.{kept}"
    )


def _examples(parts: Sequence[Batch], source: Source | None) -> list[dict[str, Any]]:
    names = getattr(source, "names", None)
    rows = {} if source is None or not names else {id_: row for row, id_ in enumerate(source.ids.tolist())}
    examples = []
    for part in parts:
        for row in np.flatnonzero(np.asarray(part.ids) >= 0).tolist():
            id_ = int(part.ids[row])
            example = {"id": id_, "label": int(part.labels[row]), "size": np.asarray(part.sizes[row]).tolist()}
            examples.append(example | ({"name": names[rows[id_]]} if names and id_ in rows else {}))
    return examples
