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

from fcnjax.lab.claims import Exact
from fcnjax.lab.experiment import Arm, Experiment
from fcnjax.lab.keys import FIRST_PILOT
from fcnjax.lab.measures.validation import LOSS, OnValidation, ValidationLoss
from fcnjax.lab.observations import Observations
from fcnjax.lab.plan import (
    Plan,
    describe_arm,
    describe_claim,
    describe_function,
    describe_recipe,
    describe_setting,
    powers,
    primary_claims,
)
from fcnjax.lab.power import pilot_components, pilot_run_variance, shared_variances
from fcnjax.lab.published.result import facts_of
from fcnjax.lab.runner import Runner, arm_recipe
from fcnjax.training import Recipe

PILOT_SEEDS = (FIRST_PILOT, FIRST_PILOT + 1)
EXTENSIONS = 3  # how often the range of learning rates grows where its edge is best
TRIED = (ValidationLoss(),)  # what is measured of a learning rate that is tried; it may be too large
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


def leader_of(experiment: Experiment, arm: Arm) -> Arm:
    """Returns the arm whose learning rate an arm takes; most arms are their own.

    An arm that repeats another one (`salt`), or a control that differs from it in its data alone, must differ in
    nothing else: it takes the rate of the first arm with the same overrides, and in the first case the same data.
    """
    other_data = arm.control and arm.sources is not None
    if arm.salt or other_data:
        for other in experiment.arms:
            alike = other.overrides == arm.overrides and (other_data or other.sources == arm.sources)
            if alike and not other.salt and not other.control:
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
    rates = _best_rates(experiment, losses)
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
        measures=[describe_function(measure) for measure in experiment.measures],
        at_edge=[arm for arm, tried in losses.items() if next_rate(tried) is not None],
        facts=facts_of(observations),
    )


def _best_rates(experiment: Experiment, losses: Losses) -> dict[str, float]:
    """Returns the learning rate of each arm, its own or that of its leader."""
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
    return rates


def tuned_losses(pilots: Pilots) -> Losses | None:
    """Returns the validation losses of all pilots; None if other shards have not done theirs.

    Each arm that is its own leader is tried at the recipe's learning rate times `experiment.tuned`. Where the lowest or
    the highest rate wins, the next one beyond it is tried too, at most `EXTENSIONS` times; the plan
    names the arms whose edge wins even then.
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

    The variance between runs is shared by primary claims of one unit, margin and number of terms (see
    `shared_variances`): where an effect is large, runs vary more than where there is none. Exploratory and control
    claims may be about arms that differ far more: they keep their own, and change no other.

    Args:
        experiment: its claims.
        observations: the pilots at the tuned learning rates.
        pool: number of test examples of one seed.

    Raises:
        ValueError: if no example of the pilots has all terms of a contrast.
    """
    components, examples, alike = {}, {}, defaultdict(dict)
    primary = primary_claims(experiment)
    for claim in experiment.claims:
        if isinstance(claim, Exact):
            continue
        values = observations.contrast(claim.contrast)
        if not len(values.values):
            raise ValueError(
                f"claim {claim.statement!r}: must have a contrast with values in the pilots, and no validation example "
                "has all of its metrics; change the contrast, or leave the claim out."
            )
        runs = observations.of(claim.arms[0])
        share = len(values.values) / sum(len(run.ids) for run in runs)  # a metric may apply to some examples only
        components[claim.statement] = pilot_components(*values, unit=claim.largest_effect)
        examples[claim.statement] = max(1, round(share * pool))
        if claim in primary:
            alike[claim.unit, claim.margin, len(claim.contrast)][claim.statement] = pilot_run_variance(*values)
    for variances in alike.values():
        for statement, variance in shared_variances(variances).items():
            components[statement] |= {"run": variance}
    return components, examples
