"""Experiments, one short file per question."""

import os
from pathlib import Path

from fcnjax import installation  # noqa: F401  (the package itself: it names a missing dependency in one sentence)


def shared_data(folder: str) -> str:
    """Returns the path of a folder of `$FCNJAX_SHARED_DATA`, by default `../shared/data`."""
    return str(Path(os.environ.get("FCNJAX_SHARED_DATA", "../shared/data"), folder))
