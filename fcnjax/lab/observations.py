"""What was measured of the runs of an experiment: one `Observation` per run, together `Observations`.

Axes: N test examples of a run, M values of a contrast over all runs.
"""

import functools
import io
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

import numpy as np

from fcnjax.lab.claims import Term
from fcnjax.naming import unknown_name
from fcnjax.sealed import read_sealed_bytes, write_sealed_bytes

_PLAIN, _ARRAYS = ("arm", "seed", "fold", "key"), ("ids", "losses", "labels", "sizes")


@dataclass(frozen=True, eq=False)
class Observation:
    """What was measured of one run.

    Attributes:
        arm: name of the arm.
        seed: number of the seed, from 0; runs of all arms with the same seed and fold have the same examples.
        fold: number of the fold, from 0.
        key: key of the run (see `fcnjax.lab.keys`).
        ids: int [N], ids of the test examples, all different.
        values: float64 [N] by metric; NaN where a metric does not apply to an example.
        numbers: number by name, without sampling error.
        losses: float64 [steps], training loss of each step.
        labels: int [N], true classes.
        sizes: int [N, D], extents of the test examples.
        facts: texts by name: hardware, versions, source.
    """

    arm: str
    seed: int
    fold: int
    key: str
    ids: np.ndarray
    values: Mapping[str, np.ndarray]
    numbers: Mapping[str, float]
    losses: np.ndarray
    labels: np.ndarray
    sizes: np.ndarray
    facts: Mapping[str, str] = field(default_factory=dict)

    def save(self, path: Path | str) -> Path:
        """Writes the observation, whole or not at all, with a checksum, and returns the path."""
        about = {name: getattr(self, name) for name in _PLAIN} | {"metrics": list(self.values)}
        about |= {"numbers": dict(self.numbers), "facts": dict(self.facts)}
        arrays = {name: getattr(self, name) for name in _ARRAYS}
        arrays |= {f"values_{index}": values for index, values in enumerate(self.values.values())}
        stored = io.BytesIO()
        np.savez_compressed(stored, about=np.array(json.dumps(about)), **arrays)
        return write_sealed_bytes(path, stored.getvalue())

    @classmethod
    def load(cls, path: Path) -> "Observation":
        """Returns what `save` wrote, bit for bit.

        Raises:
            DamagedFile: if the file is not what was written; the message names it.
            OSError: if it cannot be read.
        """
        with np.load(io.BytesIO(read_sealed_bytes(path, "it must be measured again")), allow_pickle=False) as stored:
            about = json.loads(str(stored["about"]))
            values = {metric: stored[f"values_{index}"] for index, metric in enumerate(about.pop("metrics"))}
            return cls(values=values, **about, **{name: stored[name] for name in _ARRAYS})


class ContrastValues(NamedTuple):
    """The values of a contrast, one per test example and run.

    Attributes:
        values: float64 [M].
        examples: int [M], ids of the examples.
        runs: int [M], number of the run: seed x folds + fold.
    """

    values: np.ndarray
    examples: np.ndarray
    runs: np.ndarray


@dataclass(frozen=True, eq=False)
class Observations:
    """What was measured of all runs.

    Attributes:
        runs: in any order.
        folds: number of folds of a seed.
    """

    runs: tuple[Observation, ...]
    folds: int

    def of(self, arm: str) -> tuple[Observation, ...]:
        """Returns the runs of an arm, by seed and fold."""
        return tuple(sorted((run for run in self.runs if run.arm == arm), key=lambda run: (run.seed, run.fold)))

    def contrast(self, terms: Sequence[Term]) -> ContrastValues:
        """Returns the weighted sums of the terms over the examples and runs that have all of them.

        Runs of different arms are paired by seed and fold, examples by id. What one of the arms lacks, a run or an
        example, is left out, and so are examples to which a metric does not apply (NaN).

        Raises:
            ValueError: if `terms` is empty, an arm has no run, or a run lacks a metric.
        """
        runs_of = {term.arm: {(run.seed, run.fold): run for run in self.of(term.arm)} for term in terms}
        for arm, runs in runs_of.items():
            if not runs:
                raise ValueError(f"arm={arm!r}: must have runs; run the experiment first.")
        if not terms:
            raise ValueError("terms=(): must be at least one.")
        shared = sorted(set.intersection(*(set(runs) for runs in runs_of.values())))
        values, examples, numbers = [np.zeros(0)], [np.zeros(0, np.int64)], [np.zeros(0, np.int64)]
        for seed, fold in shared:
            ids, sums = _weighted_sum(terms, {arm: runs[seed, fold] for arm, runs in runs_of.items()})
            values.append(sums)
            examples.append(ids)
            numbers.append(np.full(len(ids), seed * self.folds + fold))
        return ContrastValues(np.concatenate(values), np.concatenate(examples), np.concatenate(numbers))


def _weighted_sum(terms: Sequence[Term], runs: Mapping[str, Observation]) -> tuple[np.ndarray, np.ndarray]:
    """Returns the ids of the examples that have all terms, and the weighted sums of their values."""
    ids = functools.reduce(np.intersect1d, (run.ids for run in runs.values()))
    sums = np.zeros(len(ids))
    for term in terms:
        run = runs[term.arm]
        if term.metric not in run.values:
            what = (
                f"arm {term.arm!r}, seed {run.seed}, fold {run.fold}: {unknown_name('metric', term.metric, run.values)}"
            )
            raise ValueError(what)
        sums += term.weight * np.asarray(run.values[term.metric], np.float64)[_positions(ids, run.ids)]
    return ids[~np.isnan(sums)], sums[~np.isnan(sums)]


def _positions(ids: np.ndarray, among: np.ndarray) -> np.ndarray:
    """Returns where each of `ids` stands in `among`."""
    order = np.argsort(among)
    return order[np.searchsorted(among, ids, sorter=order)]
