"""What tables and figures share of each arm, computed once from `Observations`, so that they cannot differ.

Axes: N test examples of all runs, D spatial axes.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from fcnjax.data.size_table import areas, quantile_groups
from fcnjax.lab.claims import Term
from fcnjax.lab.experiment import Arm, Experiment
from fcnjax.lab.observations import Observations
from fcnjax.lab.statistics import Estimate, clustered_mean

# Numbers of runs that the table of arms shows, where a measure gives them.
COSTS = ("parameters", "multiply-adds", "real pixels", "waste, %", "buckets", "programs")


@dataclass(frozen=True, eq=False)
class SizeGroups:
    """Test examples grouped by size.

    Attributes:
        ids: int [N], ascending.
        sides: [N], side of each example: the geometric mean of its extents.
        group: int [N], group of each example, 0 for the smallest; no group is empty.
        unit: unit of the sides, such as `px`.
    """

    ids: np.ndarray
    sides: np.ndarray
    group: np.ndarray
    unit: str

    @property
    def members(self) -> tuple[np.ndarray, ...]:
        """Sides of the examples of each group."""
        return tuple(self.sides[self.group == index] for index in range(self.group.max() + 1))

    @property
    def labels(self) -> tuple[str, ...]:
        """Range of sides of each group, such as `16.0 to 20.5`."""
        return tuple(
            f"{sides.min():.1f} to {sides.max():.1f}" if np.ptp(sides) else f"{sides[0]:.1f}" for sides in self.members
        )


@dataclass(frozen=True, eq=False)
class ArmSummary:
    """What the runs of one arm have in common.

    Attributes:
        arm: the arm.
        runs: number of runs.
        accuracy: its mean, clustered by block of neighboring examples and by run; None if it was not measured.
        seed_accuracies: mean accuracy of each seed.
        by_size: accuracy in each group of sizes, clustered by example and by run; empty if there are no groups.
        losses: training loss of each run.
        last_loss: mean loss of the last twentieth of the steps, over all runs.
        costs: mean over runs of the numbers that say what the arm costs, by name.
    """

    arm: Arm
    runs: int
    accuracy: Estimate | None
    seed_accuracies: np.ndarray
    by_size: tuple[Estimate, ...]
    losses: tuple[np.ndarray, ...]
    last_loss: float
    costs: Mapping[str, float]


@dataclass(frozen=True, eq=False)
class Summary:
    """All arms of an experiment.

    Attributes:
        experiment: the experiment.
        arms: in the order of the experiment; arms without runs are left out.
        sizes: the groups of sizes; None if all examples have one size, or no accuracy was measured.
        examples: number of different test examples.
        seeds: number of seeds.
        folds: number of folds of a seed.
        runs: number of runs of all arms.
    """

    experiment: Experiment
    arms: tuple[ArmSummary, ...]
    sizes: SizeGroups | None
    examples: int
    seeds: int
    folds: int
    runs: int

    @property
    def intact(self) -> tuple[ArmSummary, ...]:
        """Arms that are not broken on purpose: those of figures."""
        return tuple(each for each in self.arms if not each.arm.control)

    @property
    def broken(self) -> tuple[ArmSummary, ...]:
        """Arms that are broken on purpose."""
        return tuple(each for each in self.arms if each.arm.control)


def summarize(experiment: Experiment, observations: Observations, blocks: int = 0, groups: int = 5) -> Summary:
    """Returns what tables and figures show of the runs.

    Args:
        experiment: the experiment.
        observations: its runs.
        blocks: number of blocks of neighboring examples by which accuracies are clustered; 0 clusters by example.
        groups: number of groups of sizes to ask for.

    Returns:
        The summary.

    Raises:
        ValueError: if there are no runs.
    """
    if not observations.runs:
        raise ValueError("observations with 0 runs: must have at least 1; run the experiment first.")
    measured = all("accuracy" in run.values for run in observations.runs)
    sizes = size_groups(observations, groups, experiment.size_unit) if measured else None
    names = {run.arm for run in observations.runs}
    arms = (_arm_summary(arm, observations, blocks, sizes) for arm in experiment.arms if arm.name in names)
    return Summary(
        experiment=experiment,
        arms=tuple(arms),
        sizes=sizes,
        examples=len(np.unique(np.concatenate([run.ids for run in observations.runs]))),
        seeds=len({run.seed for run in observations.runs}),
        folds=observations.folds,
        runs=len(observations.runs),
    )


def size_groups(observations: Observations, groups: int, unit: str) -> SizeGroups | None:
    """Returns the test examples in groups of about equal count, by their area; None if all have one size."""
    ids, first = np.unique(np.concatenate([run.ids for run in observations.runs]), return_index=True)
    sizes = np.concatenate([run.sizes for run in observations.runs])[first]  # [N, D]
    positions = areas(sizes)
    if np.ptp(positions) == 0:
        return None
    return SizeGroups(ids, positions ** (1 / sizes.shape[1]), quantile_groups(positions, groups), unit)


def _arm_summary(arm: Arm, observations: Observations, blocks: int, sizes: SizeGroups | None) -> ArmSummary:
    runs = observations.of(arm.name)
    accuracy, by_size, seeds = None, (), np.zeros(0)
    if all("accuracy" in run.values for run in runs):
        found = observations.contrast((Term(arm.name),))
        accuracy = clustered_mean(*found, blocks=blocks)
        of_seed = found.runs // observations.folds
        seeds = np.array([found.values[of_seed == seed].mean() for seed in np.unique(of_seed)])
        if sizes is not None:
            group = sizes.group[np.searchsorted(sizes.ids, found.examples)]
            parts = (group == index for index in range(sizes.group.max() + 1))
            by_size = tuple(clustered_mean(*(column[part] for column in found)) for part in parts)
    last = [run.losses[-max(1, len(run.losses) // 20) :] for run in runs if len(run.losses)]
    return ArmSummary(
        arm=arm,
        runs=len(runs),
        accuracy=accuracy,
        seed_accuracies=seeds,
        by_size=by_size,
        losses=tuple(run.losses for run in runs if len(run.losses)),
        last_loss=float(np.mean([loss.mean() for loss in last])) if last else float("nan"),
        costs={
            name: float(np.mean([run.numbers[name] for run in runs]))
            for name in COSTS
            if all(name in run.numbers for run in runs)
        },
    )
