"""Whether a plan came first: a run that began before its plan was committed may have shaped it."""

import datetime
from collections.abc import Iterable
from pathlib import Path

from fcnjax.training.run.run_folder import is_finished, read_environments


def begun_before(workdir: Path, keys: Iterable[str], moment: float) -> list[str]:
    """Returns the keys of runs that began before a moment, or that do not say when they began.

    Runs that are not finished begin again, and do not count.

    Args:
        workdir: folder of the runs (see `fcnjax.lab.runner`).
        keys: keys of runs.
        moment: in seconds since 1970.
    """
    measured = {path.stem.rpartition("-")[0] for path in (workdir / "measured").glob("*.npz")}
    finished = [key for key in keys if key in measured or is_finished(workdir / "runs" / key)]
    return [key for key in finished if not _began(workdir / "runs" / key) >= moment]


def _began(folder: Path) -> float:
    """Returns when the run in a folder began, in seconds since 1970; NaN if it is not known."""
    started = [each["started"] for each in read_environments(folder) if "started" in each]
    if not (is_finished(folder) and started):  # without a finished run, what was measured is of one that was removed
        return float("nan")
    return datetime.datetime.fromisoformat(started[0]).timestamp()
