"""A plugin of pytest that writes the outcome of each test as a line of JSON as it ends: tests cut short count as well.

`python -m pytest -p fcnjax.bench.outcomes --outcomes=FILE`, with or without several processes.
"""

import json
from collections import Counter
from pathlib import Path
from typing import Any

DETAIL = 2000  # characters of the end of a traceback that are kept
SLOWEST = 10


def pytest_addoption(parser: Any) -> None:
    """Defines the option (hook of pytest)."""
    parser.addoption("--outcomes", help="file that gets a line of JSON for each test")


def pytest_configure(config: Any) -> None:
    """Starts to write, in the process that collects the outcomes of all others (hook of pytest)."""
    path = config.getoption("--outcomes")
    if path and not hasattr(config, "workerinput"):
        config.pluginmanager.register(_Writer(Path(path)), "outcome-writer")


class _Writer:
    """Appends to a file; its methods are hooks of pytest."""

    def __init__(self, path: Path):
        self._path = path

    def pytest_runtest_logreport(self, report: Any) -> None:
        # A test has a report of its setup, call and teardown; a process that died has one of a kind of its own.
        if report.when == "call" or not report.passed:
            self._write(report, getattr(report, "duration", 0.0))

    def pytest_collectreport(self, report: Any) -> None:
        if report.failed:
            self._write(report, 0.0)

    def _write(self, report: Any, seconds: float) -> None:
        text = "" if report.passed else _text(report)
        row = {"test": report.nodeid, "outcome": report.outcome, "seconds": round(seconds, 3), "text": text[-DETAIL:]}
        with self._path.open("a") as file:
            file.write(f"{json.dumps(row)}\n")


def _text(report: Any) -> str:
    if report.skipped:  # file, line, reason
        return str(report.longrepr[2] if isinstance(report.longrepr, tuple) else getattr(report, "wasxfail", ""))
    return str(report.longrepr).strip()


def summarized(path: Path) -> dict[str, Any]:
    """Returns the counts of outcomes, the failed tests with the end of their tracebacks, why tests were skipped, and
    the seconds of the slowest ones, from the file that the plugin has written.
    """
    rows = [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []
    failed = {row["test"]: row["text"] for row in rows if row["outcome"] == "failed"}
    counts = Counter(row["outcome"] for row in rows if row["test"] not in failed)
    slowest = sorted(rows, key=lambda row: -row["seconds"])[:SLOWEST]
    return {
        "counts": {"passed": counts["passed"], "failed": len(failed), "skipped": counts["skipped"]},
        "failed": failed,
        "skipped": dict(Counter(row["text"] for row in rows if row["outcome"] == "skipped")),
        "slowest": {row["test"]: row["seconds"] for row in slowest},
    }
