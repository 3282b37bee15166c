"""Runs all experiments one after the other, then builds the index of their reports: `python -m experiments`.

Runs that are done stay done, so an interrupted command goes on where it stopped. Flags are given to every experiment.
"""

import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from fcnjax import lab

FOLDER = Path(__file__).parent


def main(flags: Sequence[str]) -> int:
    """Returns the exit code of the first experiment that fails, or 0."""
    names = sorted(path.stem for path in FOLDER.glob("[!_]*.py"))
    for name in names:
        print(f"\n{name}", flush=True)
        code = subprocess.run([sys.executable, "-m", f"experiments.{name}", *flags], check=False).returncode
        if code:
            return code
    print(f"\nindex: {lab.write_index(names)}")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
