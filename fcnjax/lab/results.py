"""The measurements of an experiment: one `RunResult` per arm and seed and one `ArmCost` per arm, together `Results`.

Axes: N test examples, K classes, D spatial axes. A `RunResult` is also the unit of resumption: a run is repeated if its
result is not on disk.
"""

import math
import struct
import zipfile
import zlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType

import numpy as np

from fcnjax.atomic import atomic_file
from fcnjax.lab.experiment import Experiment

_ARRAYS = ("losses", "initial_logits", "final_logits", "labels", "sizes", "ids")

# The errors that numpy, zipfile and zlib raise for a file that is truncated, has a changed byte or is of another kind.
_BROKEN = (
    OSError,
    EOFError,
    KeyError,
    ValueError,
    TypeError,
    AttributeError,
    NotImplementedError,
    OverflowError,
    struct.error,
    zipfile.BadZipFile,
    zlib.error,
)


@dataclass(frozen=True, eq=False)
class RunResult:
    """The result of one arm with one seed.

    Attributes:
        arm: name of the arm.
        seed: the seed; runs of different arms with the same seed are paired.
        losses: [steps], training loss of each step; steps >= 1.
        initial_logits: [N, K], scores of the test examples before training.
        final_logits: [N, K], scores of the same examples after training.
        labels: int [N], true classes in [0, K).
        sizes: int [N, D], extents of the test examples, each at least 1.
        ids: [N], different integers or strings that identify the test examples.

    Raises:
        ValueError: if a shape, a label, a size or an id differs from the description above.
    """

    arm: str
    seed: int
    losses: np.ndarray
    initial_logits: np.ndarray
    final_logits: np.ndarray
    labels: np.ndarray
    sizes: np.ndarray
    ids: np.ndarray

    def __post_init__(self):
        for name in _ARRAYS:
            object.__setattr__(self, name, np.asarray(getattr(self, name)))
        for name, rank in (("losses", 1), ("final_logits", 2), ("labels", 1), ("sizes", 2), ("ids", 1)):
            shape = getattr(self, name).shape
            if len(shape) != rank or 0 in shape:
                raise ValueError(f"{self._who}: {name} of shape {shape}: must be of rank {rank} and not empty.")
        count, classes = self.final_logits.shape
        if self.initial_logits.shape != (count, classes):
            raise ValueError(
                f"{self._who}: initial_logits of shape {self.initial_logits.shape}: must be {(count, classes)}, as for "
                "final_logits; score the same examples."
            )
        for name in ("labels", "sizes", "ids"):
            rows = len(getattr(self, name))
            if rows != count:
                raise ValueError(f"{self._who}: {name} of {rows} rows: must be {count}, one per example.")
        if self.labels.dtype.kind not in "iu" or self.labels.min() < 0 or self.labels.max() >= classes:
            raise ValueError(f"{self._who}: labels must be integers in [0, {classes}).")
        if self.sizes.min() < 1:
            raise ValueError(f"{self._who}: sizes with {self.sizes.min()}: must be at least 1; leave filler rows out.")
        if self.ids.dtype.kind not in "iuU" or len(np.unique(self.ids)) != count:
            raise ValueError(f"{self._who}: ids must be integers or strings, a different one per example.")

    @property
    def _who(self) -> str:
        return f"result of arm {self.arm!r}, seed {self.seed}"

    @property
    def predictions(self) -> np.ndarray:
        """Class with the largest final score, int [N]."""
        return np.argmax(self.final_logits, axis=1)

    @property
    def correct(self) -> np.ndarray:
        """Whether each prediction is the true class, bool [N]; False if a score of the example is not finite."""
        return (self.predictions == self.labels) & np.all(np.isfinite(self.final_logits), axis=1)

    @property
    def accuracy(self) -> float:
        """Share of correct predictions, in [0, 1]."""
        return float(np.mean(self.correct))

    def save(self, path: Path | str) -> Path:
        """Writes the result to `path` as `.npz`, whole or not at all, and returns the path; no suffix is added.

        Raises:
            OSError: if the file cannot be written.
        """
        arrays = {name: getattr(self, name) for name in _ARRAYS}
        with atomic_file(path) as handle:
            np.savez_compressed(handle, arm=np.array(self.arm), seed=np.array(self.seed), **arrays)
        return Path(path)

    @classmethod
    def load(cls, path: Path | str) -> "RunResult":
        """Returns the result that `save` wrote, bit for bit.

        Raises:
            FileNotFoundError: if the file does not exist.
            ValueError: if the file is broken or holds something else.
        """
        try:
            with Path(path).open("rb") as handle, np.load(handle, allow_pickle=False) as stored:
                return cls(str(stored["arm"]), int(stored["seed"]), *(stored[name] for name in _ARRAYS))
        except FileNotFoundError:
            raise
        except _BROKEN as error:
            raise ValueError(f"{path}: must be a run result ({error}); delete it and run this arm again.") from error


@dataclass(frozen=True)
class ArmCost:
    """The cost of one arm.

    Attributes:
        arm: name of the arm.
        head_multiply_adds: multiply-adds of the head per image, averaged over the test images; at least 0.
        step_ms: time of a training step in milliseconds, one per round, at least one, each above 0. Every arm is timed
            once in every round, so that times of one round are comparable.

    Raises:
        ValueError: if a number is outside its range or not finite.
    """

    arm: str
    head_multiply_adds: float
    step_ms: tuple[float, ...]

    def __post_init__(self):
        object.__setattr__(self, "step_ms", tuple(float(ms) for ms in self.step_ms))
        if not (math.isfinite(self.head_multiply_adds) and self.head_multiply_adds >= 0):
            raise ValueError(f"arm {self.arm!r}: head_multiply_adds={self.head_multiply_adds}: must be at least 0.")
        if not self.step_ms or not all(math.isfinite(ms) and ms > 0 for ms in self.step_ms):
            raise ValueError(f"arm {self.arm!r}: step_ms={self.step_ms}: must be one time above 0 per round.")

    @property
    def median_step_ms(self) -> float:
        """Median over the rounds, in milliseconds."""
        return float(np.median(self.step_ms))


@dataclass(frozen=True, eq=False)
class Results:
    """The data from which a report is computed.

    Attributes:
        experiment: the question and the arms.
        runs: one result per arm and seed, in any order.
        costs: one cost per arm, all with the same number of rounds.
        facts: how the results were measured (hardware, versions, data set, command): value by name, in the order of
            the report.

    Raises:
        ValueError: if a run or a cost is missing, repeated or of an unknown arm; or if runs cannot be paired, because
            their seeds, test examples (ids, labels, sizes) or numbers of classes differ.
    """

    experiment: Experiment
    runs: tuple[RunResult, ...]
    costs: tuple[ArmCost, ...]
    facts: Mapping[str, str] = field(default_factory=dict)

    def __post_init__(self):
        object.__setattr__(self, "runs", tuple(self.runs))
        object.__setattr__(self, "costs", tuple(self.costs))
        object.__setattr__(self, "facts", MappingProxyType(dict(self.facts)))
        self._check_paired_runs()
        self._check_same_examples()
        self._check_costs()

    def _check_paired_runs(self) -> None:
        for run in self.runs:
            self.experiment.arm(run.arm)
        keys = [(run.arm, run.seed) for run in self.runs]
        for arm, seed in keys:
            if keys.count((arm, seed)) > 1:
                raise ValueError(f"runs of arm {arm!r}, seed {seed}: must be one, not several.")
        every_seed = {seed for _, seed in keys}
        for name in self.experiment.names:
            missing = sorted(every_seed - {seed for arm, seed in keys if arm == name})
            if missing or not every_seed:
                raise ValueError(
                    f"runs of arm {name!r}: must be one for each seed (missing: {missing or 'all'}); "
                    "finish every run first."
                )

    def _check_same_examples(self) -> None:
        first = self.runs[0]
        for run in self.runs[1:]:
            if run.final_logits.shape[1] != first.final_logits.shape[1]:
                raise ValueError(f"{run._who}: must have as many classes as {first._who}.")
            for name in ("ids", "labels", "sizes"):
                if not np.array_equal(getattr(run, name), getattr(first, name)):
                    raise ValueError(
                        f"{run._who}: must have the test {name} of {first._who}; score the same examples in one order."
                    )

    def _check_costs(self) -> None:
        measured = sorted(cost.arm for cost in self.costs)
        if measured != sorted(self.experiment.names):
            raise ValueError(f"costs of arms {measured}: must be one for each of {sorted(self.experiment.names)}.")
        rounds = {len(cost.step_ms) for cost in self.costs}
        if len(rounds) > 1:
            raise ValueError(
                f"costs of {sorted(rounds)} rounds: must all have the same number; time every arm once per round."
            )

    @property
    def seeds(self) -> tuple[int, ...]:
        """The seeds in ascending order, the same for every arm."""
        return tuple(sorted({run.seed for run in self.runs}))

    @property
    def sizes(self) -> np.ndarray:
        """Extents of the test examples, int [N, D]."""
        return self.runs[0].sizes

    @property
    def test_count(self) -> int:
        """Number of test examples N."""
        return len(self.runs[0].labels)

    def runs_of(self, arm: str) -> tuple[RunResult, ...]:
        """Returns the runs of `arm`, by ascending seed; raises ValueError if the arm is unknown."""
        self.experiment.arm(arm)
        return tuple(sorted((run for run in self.runs if run.arm == arm), key=lambda run: run.seed))

    def accuracies(self, arm: str) -> np.ndarray:
        """Returns the test accuracies of `arm`, in [0, 1], by ascending seed [seeds]."""
        return np.array([run.accuracy for run in self.runs_of(arm)])

    def correct(self, arm: str) -> np.ndarray:
        """Returns which predictions of `arm` are right, by ascending seed: bool [seeds, N]."""
        return np.stack([run.correct for run in self.runs_of(arm)])

    def losses(self, arm: str) -> np.ndarray:
        """Returns the training losses of `arm`, by ascending seed, cut to the shortest run [seeds, steps]."""
        runs = self.runs_of(arm)
        steps = min(len(run.losses) for run in runs)
        return np.stack([run.losses[:steps] for run in runs])

    def cost(self, arm: str) -> ArmCost:
        """Returns the cost of `arm`; raises ValueError if the arm is unknown."""
        self.experiment.arm(arm)
        return next(cost for cost in self.costs if cost.arm == arm)
