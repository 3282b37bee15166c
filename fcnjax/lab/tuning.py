"""Pilots: they tune the learning rate of each arm alike, and say how well the claims can be decided.

A pilot trains on the training part of fold 0 of a pilot seed, which no other run uses, and is tested on the validation
examples: nothing of a plan depends on a test example. Pilots are cached like all runs.
"""

import dataclasses
import math
from collections import defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from scipy.special import log_softmax

from fcnjax.data import Source
from fcnjax.lab.claims import Exact
from fcnjax.lab.experiment import Arm, ChangeSources, Experiment
from fcnjax.lab.keys import FIRST_PILOT
from fcnjax.lab.measures import Measured, TrainedRun
from fcnjax.lab.observations import ContrastValues, Observations
from fcnjax.lab.plan import Plan, describe_arm, describe_claim, describe_recipe, describe_setting, powers
from fcnjax.lab.power import pilot_components
from fcnjax.lab.published.result import facts_of
from fcnjax.lab.runner import Runner, arm_recipe
from fcnjax.training import Recipe

PILOT_SEEDS = (FIRST_PILOT, FIRST_PILOT + 1)
EXTENSIONS = 3  # how often the range of learning rates grows where its edge is best
LOSS = "validation loss"
Losses = dict[str, dict[float, list[float]]]  # by arm and learning rate, one per pilot seed


@dataclasses.dataclass(frozen=True)
class Pilots:
    """Where pilots run.

    Attributes:
        experiment: the experiment that is planned.
        setting_name: name of the setting.
        recipe: the recipe that all arms share.
        workdir: folder of the runs.
        shard: which runs to do: number from 0, and count.
    """

    experiment: Experiment
    setting_name: str
    recipe: Recipe
    workdir: Path
    shard: tuple[int, int] = (0, 1)

    def runner(self, arms: Sequence[Arm], measures: Sequence[Any], rates: Mapping[str, float]) -> Runner:
        """Returns the runner of the pilots of some arms.

        Args:
            arms: their data are changed, so that the validation examples are tested.
            measures: what is measured of each.
            rates: learning rate by arm.
        """
        changed = tuple(dataclasses.replace(arm, sources=OnValidation(arm.sources)) for arm in arms)
        planned = dataclasses.replace(
            self.experiment, arms=changed, measures=tuple(measures), claims=(), pictures=(), findings={}
        )
        return Runner(
            planned,
            self.setting_name,
            self.recipe,
            self.workdir,
            learning_rates=rates,
            seeds=PILOT_SEEDS,
            folds=(0,),
            shard=self.shard,
            record_diverged=tuple(measures) == TRIED,
        )


@dataclasses.dataclass(frozen=True)
class OnValidation:
    """Changes the splits of a pilot: the validation examples take the place of the test examples.

    Attributes:
        change: what the arm itself changes before that.
    """

    change: ChangeSources | None = None

    def __call__(self, sources: Mapping[str, Source], seed: int) -> Mapping[str, Source]:
        """Returns the splits of a pilot."""
        changed = dict(sources) if self.change is None else dict(self.change(sources, seed))
        return changed | {"test": changed["validation"]}


@dataclasses.dataclass(frozen=True)
class ValidationLoss:
    """Measures the mean cross-entropy of the examples that a pilot is tested on; it may be infinite or NaN."""

    def __call__(self, run: TrainedRun) -> Measured:
        """Returns the loss as a number."""
        known = run.labels >= 0
        log_probabilities = log_softmax(run.scores()[known].astype(np.float64), axis=1)
        return Measured({}, {LOSS: -float(log_probabilities[np.arange(known.sum()), run.labels[known]].mean())})


TRIED = (ValidationLoss(),)  # what is measured of a learning rate that is tried; it may be too large


def leader_of(experiment: Experiment, arm: Arm) -> Arm:
    """Returns the arm whose learning rate an arm takes; most arms are their own.

    An arm that repeats another one (`salt`), or a control that differs from it in its data alone, must differ in
    nothing else: it takes the rate of the first arm with the same overrides.
    """
    if arm.salt or (arm.control and arm.sources is not None):
        for other in experiment.arms:
            if not other.salt and not other.control and other.overrides == arm.overrides:
                return other
    return arm


def best_rate(losses: Mapping[float, Sequence[float]]) -> float | None:
    """Returns the learning rate with the lowest mean loss; None if no mean is finite.

    >>> best_rate({0.1: [2.0, 1.0], 0.2: [1.0, 1.0], 0.4: [0.1, float("nan")]})
    0.2
    """
    means = {rate: float(np.mean(each)) for rate, each in losses.items()}
    finite = {rate: mean for rate, mean in means.items() if math.isfinite(mean)}
    return min(finite, key=finite.__getitem__) if finite else None


def next_rate(losses: Mapping[float, Sequence[float]]) -> float | None:
    """Returns the learning rate to try next, beyond the edge that is best; None if no edge is.

    >>> next_rate({0.1: [2.0], 0.2: [1.0]}), next_rate({0.1: [2.0], 0.2: [1.0], 0.4: [3.0]})
    (0.4, None)
    """
    best = best_rate(losses)
    if best is None or len(losses) < 2 or best not in (min(losses), max(losses)):
        return None
    return best / 2 if best == min(losses) else best * 2


def tune(pilots: Pilots) -> Plan | None:
    """Returns the plan of an experiment; None if other shards have not done their pilots.

    Raises:
        ValueError: if all learning rates of an arm end with a loss that is not finite.
    """
    experiment, setting = pilots.experiment, pilots.experiment.setting(pilots.setting_name)
    losses = tuned_losses(pilots)
    if losses is None:
        return None
    rates = {}
    for arm in experiment.arms:
        tried = losses[leader_of(experiment, arm).name]
        best = best_rate(tried)
        if best is None:
            raise ValueError(
                f"arm {arm.name!r}: must have a finite validation loss at one of the learning rates {sorted(tried)}; "
                "lower the learning rate of its recipe."
            )
        rates[arm.name] = best
    runner = pilots.runner(experiment.arms, experiment.measures, rates)
    observations = runner.run()
    if observations is None:
        return None
    components, examples = pilot_variances(experiment, observations, len(runner.draws.pool))
    return Plan(
        setting=pilots.setting_name,
        learning_rates=rates,
        tuning={arm: {str(rate): each for rate, each in sorted(tried.items())} for arm, tried in losses.items()},
        power=powers(experiment, components, examples, setting.seeds, setting.folds),
        components=components,
        seeds=setting.seeds,
        folds=setting.folds,
        examples=examples,
        claims=[describe_claim(claim) for claim in experiment.claims],
        arms={arm.name: describe_arm(arm) for arm in experiment.arms},
        data=describe_setting(setting),
        recipe=describe_recipe(pilots.recipe),
        facts=facts_of(observations),
    )


def tuned_losses(pilots: Pilots) -> Losses | None:
    """Returns the validation losses of all pilots; None if other shards have not done theirs.

    Each arm that is its own leader is tried at the recipe's learning rate times `experiment.tuned`. Where the lowest or
    the highest rate wins, the next one beyond it is tried too, at most `EXTENSIONS` times.
    """
    experiment = pilots.experiment
    leaders = [arm for arm in experiment.arms if leader_of(experiment, arm) is arm]
    setting = experiment.setting(pilots.setting_name)
    first = {arm.name: arm_recipe(pilots.recipe, setting, arm).optimizer.learning_rate for arm in leaders}
    wanted = {name: [factor * rate for factor in experiment.tuned or (1.0,)] for name, rate in first.items()}
    losses: Losses = {arm.name: {} for arm in leaders}
    for _ in range(1 + EXTENSIONS):
        found = _losses_at(pilots, wanted)
        if found is None:
            return None
        for name, tried in found.items():
            losses[name] |= tried
        beyond = {name: next_rate(tried) for name, tried in losses.items()}
        wanted = {name: [rate] for name, rate in beyond.items() if rate is not None}
        if not wanted:
            break
    return losses


def _losses_at(pilots: Pilots, wanted: Mapping[str, Sequence[float]]) -> Losses | None:
    """Returns the validation losses of arms at learning rates, all as one sweep."""
    arms, rates = {}, {}
    for name, tried in wanted.items():
        for number, rate in enumerate(tried):
            arm = dataclasses.replace(pilots.experiment.arm(name), name=f"{name}_rate{number}")
            arms[arm.name], rates[arm.name] = (name, rate, arm), rate
    observations = pilots.runner([arm for _, _, arm in arms.values()], TRIED, rates).run()
    if observations is None:
        return None
    losses: Losses = {name: {} for name in wanted}
    for each, (name, rate, _) in arms.items():
        losses[name][rate] = [run.numbers.get(LOSS, math.inf) for run in observations.of(each)]
    return losses


def pilot_variances(
    experiment: Experiment, observations: Observations, pool: int
) -> tuple[dict[str, dict[str, float]], dict[str, int]]:
    """Returns the variance components of each statistical claim, and how many test examples of one seed count for it.

    Two runs say little about the variance between runs. It is therefore taken as equal for all claims of one unit and
    number of terms, controls apart, and averaged over them.

    Args:
        experiment: its claims.
        observations: the pilots at the tuned learning rates.
        pool: number of test examples of one seed.
    """
    components, examples, alike = {}, {}, defaultdict(dict)
    for claim in experiment.claims:
        if isinstance(claim, Exact):
            continue
        values = observations.contrast(claim.contrast)
        runs = observations.of(claim.arms[0])
        share = len(values.values) / sum(len(run.ids) for run in runs)  # a metric may apply to some examples only
        components[claim.statement] = pilot_components(*values, unit=claim.largest_effect)
        examples[claim.statement] = max(1, round(share * pool))
        if not claim.control:
            residual = components[claim.statement]["residual"]
            alike[claim.unit, len(claim.contrast)][claim.statement] = _run_variance(values, residual)
    for variances in alike.values():
        shared = max(0.0, float(np.mean(list(variances.values()))))
        for statement in variances:
            components[statement] |= {"run": shared}
    return components, examples


def _run_variance(values: ContrastValues, residual: float) -> float:
    """Returns the moment estimate of the variance between runs; below 0 where runs differ less than by chance."""
    groups = [values.values[values.runs == run] for run in np.unique(values.runs)]
    between = float(np.var([group.mean() for group in groups], ddof=1)) if len(groups) > 1 else math.nan
    return between - residual * float(np.mean([1 / len(group) for group in groups]))
