"""What an experiment has measured: one `RunResult` per arm and seed, one `ArmCost` per arm, together `Results`.

Axes: N test examples, K classes, D spatial axes. A `RunResult` is also the unit of resumption: it is on disk, whole, or
the run has yet to be done.
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

# What numpy, zipfile and zlib raise on a file that is cut, flipped or of something else.
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
    """What one arm did with one seed.

    Attributes:
        arm: name of the arm.
        seed: the seed that it shares with the same seed of every other arm.
        losses: training loss of every step [steps], steps >= 1.
        initial_logits: scores of the test examples before training [N, K].
        final_logits: scores of the same examples after training [N, K].
        labels: true classes [N], integers in [0, K).
        sizes: extents of the test examples [N, D], each at least 1.
        ids: names of the test examples [N], integers or strings, each once.

    Raises:
        ValueError: a shape, a label, a size or an id is not as above.
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
                raise ValueError(f"{self._who}: {name} has shape {shape}, it needs {rank} axes, none of them empty.")
        count, classes = self.final_logits.shape
        if self.initial_logits.shape != (count, classes):
            raise ValueError(
                f"{self._who}: initial_logits has shape {self.initial_logits.shape} and final_logits "
                f"{(count, classes)}: both must score the same examples."
            )
        for name in ("labels", "sizes", "ids"):
            if len(getattr(self, name)) != count:
                raise ValueError(f"{self._who}: {name} has {len(getattr(self, name))} rows for {count} examples.")
        if self.labels.dtype.kind not in "iu" or self.labels.min() < 0 or self.labels.max() >= classes:
            raise ValueError(f"{self._who}: labels must be integers in [0, {classes}).")
        if self.sizes.min() < 1:
            raise ValueError(f"{self._who}: sizes holds {self.sizes.min()}; filler rows must be left out of results.")
        if self.ids.dtype.kind not in "iuU" or len(np.unique(self.ids)) != count:
            raise ValueError(f"{self._who}: ids must be integers or strings, each example once.")

    @property
    def _who(self) -> str:
        return f"result of arm {self.arm!r}, seed {self.seed}"

    @property
    def predictions(self) -> np.ndarray:
        """Class with the largest final score [N]."""
        return np.argmax(self.final_logits, axis=1)

    @property
    def correct(self) -> np.ndarray:
        """Whether each prediction is the true class [N], bool; a score that is not finite counts as wrong."""
        return (self.predictions == self.labels) & np.all(np.isfinite(self.final_logits), axis=1)

    @property
    def accuracy(self) -> float:
        """Share of correct predictions, in [0, 1]."""
        return float(np.mean(self.correct))

    def save(self, path: Path | str) -> Path:
        """Writes the result as ``.npz`` under exactly ``path``, whole or not at all, and returns the path.

        Raises:
            OSError: the folder cannot be written.
        """
        arrays = {name: getattr(self, name) for name in _ARRAYS}
        with atomic_file(path) as handle:
            np.savez_compressed(handle, arm=np.array(self.arm), seed=np.array(self.seed), **arrays)
        return Path(path)

    @classmethod
    def load(cls, path: Path | str) -> "RunResult":
        """Returns the result that `save` wrote, bit for bit.

        Raises:
            FileNotFoundError: there is no such file.
            ValueError: the file is broken or is not a run result.
        """
        try:
            with Path(path).open("rb") as handle, np.load(handle, allow_pickle=False) as stored:
                return cls(str(stored["arm"]), int(stored["seed"]), *(stored[name] for name in _ARRAYS))
        except FileNotFoundError:
            raise
        except _BROKEN as error:
            raise ValueError(
                f"{path} is not a readable run result ({error}): delete it and run this arm again."
            ) from error


@dataclass(frozen=True)
class ArmCost:
    """What an arm costs.

    Attributes:
        arm: name of the arm.
        head_multiply_adds: multiply-adds of the head per image, averaged over the test images; at least 0.
        step_ms: milliseconds of a training step, one figure per round; in every round each arm had its turn, so that
            figures of one round are comparable. At least one, each above 0.

    Raises:
        ValueError: a figure is outside its range or not finite.
    """

    arm: str
    head_multiply_adds: float
    step_ms: tuple[float, ...]

    def __post_init__(self):
        object.__setattr__(self, "step_ms", tuple(float(ms) for ms in self.step_ms))
        if not (math.isfinite(self.head_multiply_adds) and self.head_multiply_adds >= 0):
            raise ValueError(f"arm {self.arm!r}: head_multiply_adds {self.head_multiply_adds} must be 0 or more.")
        if not self.step_ms or not all(math.isfinite(ms) and ms > 0 for ms in self.step_ms):
            raise ValueError(f"arm {self.arm!r}: step_ms {self.step_ms} needs one time above 0 per round.")

    @property
    def median_step_ms(self) -> float:
        """Median of the rounds, in milliseconds."""
        return float(np.median(self.step_ms))


@dataclass(frozen=True, eq=False)
class Results:
    """Everything that a report is computed from.

    Attributes:
        experiment: what was asked.
        runs: one result for every arm and every seed, in any order.
        costs: one for every arm, all with the same number of rounds.
        facts: how it was measured (hardware, versions, data set, command), name to words, in the order of the report.

    Raises:
        ValueError: a run or cost is missing, repeated or of an unknown arm; or arms differ in seeds, or runs in their
            test examples (ids, labels, sizes) or number of classes, so that they cannot be paired.
    """

    experiment: Experiment
    runs: tuple[RunResult, ...]
    costs: tuple[ArmCost, ...]
    facts: Mapping[str, str] = field(default_factory=dict)

    def __post_init__(self):
        object.__setattr__(self, "runs", tuple(self.runs))
        object.__setattr__(self, "costs", tuple(self.costs))
        object.__setattr__(self, "facts", MappingProxyType(dict(self.facts)))
        self._require_paired_runs()
        self._require_same_examples()
        self._require_costs()

    def _require_paired_runs(self) -> None:
        for run in self.runs:
            self.experiment.arm(run.arm)
        keys = [(run.arm, run.seed) for run in self.runs]
        for arm, seed in keys:
            if keys.count((arm, seed)) > 1:
                raise ValueError(f"arm {arm!r} has seed {seed} more than once: give every run once.")
        every_seed = {seed for _, seed in keys}
        for name in self.experiment.names:
            missing = sorted(every_seed - {seed for arm, seed in keys if arm == name})
            if missing or not every_seed:
                raise ValueError(
                    f"arm {name!r} has no run for seeds {missing}: arms are paired, finish every run first."
                )

    def _require_same_examples(self) -> None:
        first = self.runs[0]
        for run in self.runs[1:]:
            if run.final_logits.shape[1] != first.final_logits.shape[1]:
                raise ValueError(f"{run._who} has another number of classes than {first._who}.")
            for name in ("ids", "labels", "sizes"):
                if not np.array_equal(getattr(run, name), getattr(first, name)):
                    raise ValueError(
                        f"{run._who} has other test {name} than {first._who}: score the same examples in one order."
                    )

    def _require_costs(self) -> None:
        measured = sorted(cost.arm for cost in self.costs)
        if measured != sorted(self.experiment.names):
            raise ValueError(f"costs are of arms {measured}: give one for each of {sorted(self.experiment.names)}.")
        rounds = {len(cost.step_ms) for cost in self.costs}
        if len(rounds) > 1:
            raise ValueError(f"costs have {sorted(rounds)} rounds: time every arm once in every round.")

    @property
    def seeds(self) -> tuple[int, ...]:
        """The seeds that every arm ran with, ascending."""
        return tuple(sorted({run.seed for run in self.runs}))

    @property
    def sizes(self) -> np.ndarray:
        """Extents of the test examples [N, D]."""
        return self.runs[0].sizes

    @property
    def test_count(self) -> int:
        """Number of test examples N."""
        return len(self.runs[0].labels)

    def runs_of(self, arm: str) -> tuple[RunResult, ...]:
        """Returns the runs of ``arm``, by ascending seed; raises ValueError for an unknown arm."""
        self.experiment.arm(arm)
        return tuple(sorted((run for run in self.runs if run.arm == arm), key=lambda run: run.seed))

    def accuracies(self, arm: str) -> np.ndarray:
        """Returns the test accuracies of ``arm`` [seeds], by ascending seed, in [0, 1]."""
        return np.array([run.accuracy for run in self.runs_of(arm)])

    def correct(self, arm: str) -> np.ndarray:
        """Returns which predictions of ``arm`` are right [seeds, N], bool, by ascending seed."""
        return np.stack([run.correct for run in self.runs_of(arm)])

    def losses(self, arm: str) -> np.ndarray:
        """Returns the training losses of ``arm`` [seeds, steps], by ascending seed, cut to the shortest run."""
        runs = self.runs_of(arm)
        steps = min(len(run.losses) for run in runs)
        return np.stack([run.losses[:steps] for run in runs])

    def cost(self, arm: str) -> ArmCost:
        """Returns the cost of ``arm``; raises ValueError for an unknown arm."""
        self.experiment.arm(arm)
        return next(cost for cost in self.costs if cost.arm == arm)
