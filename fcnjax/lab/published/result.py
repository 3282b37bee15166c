"""The result of an experiment as a file: what a reader needs to trust it, and what a second run is compared with.

Two equal runs give equal files, apart from what stands under "times". Everything in a `Result` is as JSON holds it (see
`encoded`).
"""

import dataclasses
import datetime
import hashlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from fcnjax.atomic import read_json, write_json
from fcnjax.lab.claims import Exact
from fcnjax.lab.decisions import Decision
from fcnjax.lab.experiment import Experiment
from fcnjax.lab.observations import Observation, Observations
from fcnjax.lab.plan import Plan, describe_claim
from fcnjax.lab.published.encoding import encoded
from fcnjax.lab.report.notes import is_as_planned
from fcnjax.lab.report.summaries import summarize
from fcnjax.lab.report.words import answer_words, kind_of, verdict_counts, verdict_of

FILE = "result.json"


@dataclasses.dataclass(frozen=True)
class Result:
    """What was found, of which runs, and under which conditions.

    Attributes:
        name: name of the experiment.
        title: its title.
        question: its question.
        setting: name of the setting.
        answer: the answer in plain words.
        verdicts: number of claims by verdict.
        claims: each claim with its verdict and numbers, in order (see `claim_row`).
        arms: each arm with its learning rate and accuracy, in order.
        runs: each run with the means of its metrics and a hash of all its values, by arm, seed and fold.
        seeds: number of seeds.
        folds: number of folds of a seed.
        plan: digest of the plan; None without one.
        facts: texts by name: hardware, versions, source, command.
        page: file name of the report beside the result.
        times: when the runs ended; the only part that may differ between equal runs.
    """

    name: str
    title: str
    question: str
    setting: str
    answer: str
    verdicts: Mapping[str, int]
    claims: Sequence[Mapping[str, Any]]
    arms: Sequence[Mapping[str, Any]]
    runs: Sequence[Mapping[str, Any]]
    seeds: int
    folds: int
    plan: str | None
    facts: Mapping[str, str]
    page: str = "report.md"
    times: Mapping[str, str] = dataclasses.field(default_factory=dict)

    def to_dict(self) -> dict[str, Any]:
        """Returns the fields by name, in order, as the file holds them."""
        return {field.name: encoded(getattr(self, field.name)) for field in dataclasses.fields(self)}

    def write(self, path: Path | str) -> Path:
        """Writes the result as JSON, whole or not at all, and returns the path."""
        return write_json(path, self.to_dict())


def read_result(path: Path | str) -> Result:
    """Returns a result that was written.

    Raises:
        FileNotFoundError: if the file does not exist.
        ValueError: if the file is not JSON or not a result.
    """
    if not Path(path).exists():
        raise FileNotFoundError(f"{path}: must hold a published result, and does not exist; run with --publish first.")
    kept = read_json(Path(path))
    names = {field.name for field in dataclasses.fields(Result)}
    if kept.keys() != names:
        raise ValueError(f"{path}: must hold the fields {sorted(names)}; restore it, or publish the experiment again.")
    return Result(**kept)


def make_result(
    experiment: Experiment,
    setting: str,
    observations: Observations,
    decisions: Sequence[Decision],
    plan: Plan | None,
    facts: Mapping[str, str],
    changed: Sequence[str] = (),
) -> Result:
    """Returns the result of a finished experiment.

    Args:
        experiment: its question, arms and claims.
        setting: name of the setting.
        observations: all runs.
        decisions: the decided claims.
        plan: the plan of the runs; None if they were not planned.
        facts: texts by name, such as the command; those of the runs are added.
        changed: fields of the recipe that differ from the plan.
    """
    as_planned = is_as_planned(experiment.setting(setting).seeds, observations, plan, changed)
    return Result(
        name=experiment.name,
        title=experiment.title,
        question=experiment.question,
        setting=setting,
        answer=answer_words(experiment, setting, decisions, as_planned),
        verdicts=verdict_counts(experiment, decisions),
        claims=[encoded(claim_row(experiment, decision)) for decision in decisions],
        arms=[encoded(row) for row in _arm_rows(experiment, setting, observations, plan)],
        runs=[encoded(run_row(run)) for arm in experiment.names for run in observations.of(arm)],
        seeds=len({run.seed for run in observations.runs}),
        folds=observations.folds,
        plan=None if plan is None else plan.digest,
        facts=encoded({**facts_of(observations), **facts}),
        times={"ended": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")},
    )


def claim_row(experiment: Experiment, decision: Decision) -> dict[str, Any]:
    """Returns a claim as the result holds it: kind, what was planned, the verdict, and all numbers behind it."""
    fields = {field.name: getattr(decision, field.name) for field in dataclasses.fields(decision)}
    del fields["claim"]
    described = describe_claim(decision.claim)
    if not isinstance(decision.claim, Exact):
        described |= {"unit": decision.claim.unit, "scale": decision.claim.scale}
    words = {"words": verdict_of(decision).words, "evidence": decision.evidence}
    return {"kind": kind_of(experiment, decision), **described, **fields, **words}


def run_row(run: Observation) -> dict[str, Any]:
    """Returns a run as the result holds it."""
    return {
        "arm": run.arm,
        "seed": run.seed,
        "fold": run.fold,
        "key": run.key,
        "examples": len(run.ids),
        "means": {name: _mean(values) for name, values in run.values.items()},
        "numbers": dict(run.numbers),
        "hash": hash_of(run),
    }


def hash_of(run: Observation) -> str:
    """Returns 32 hexadecimal digits that change with any bit of the values, the numbers and the losses of a run."""
    digest = hashlib.sha256()
    arrays = {"ids": run.ids, "losses": run.losses, **{f"value {name}": run.values[name] for name in run.values}}
    arrays |= {f"number {name}": np.float64(run.numbers[name]) for name in run.numbers}
    for name in sorted(arrays):
        array = np.ascontiguousarray(arrays[name])
        digest.update(f"{name} {array.dtype.str} {array.shape}\n".encode() + array.tobytes())
    return digest.hexdigest()[:32]


def facts_of(observations: Observations) -> dict[str, str]:
    """Returns the facts of all runs, each with its distinct texts; more than one if the conditions changed."""
    names = dict.fromkeys(name for run in observations.runs for name in run.facts)
    texts = {name: dict.fromkeys(run.facts[name] for run in observations.runs if name in run.facts) for name in names}
    return {name: "; ".join(sorted(distinct)) for name, distinct in texts.items()}


def _arm_rows(
    experiment: Experiment, setting: str, observations: Observations, plan: Plan | None
) -> list[dict[str, Any]]:
    rates = {} if plan is None else plan.learning_rates
    summary = summarize(experiment, observations, experiment.setting(setting).blocks)
    rows = []
    for each in summary.arms:
        low, high = (None, None) if each.accuracy is None else each.accuracy.interval()
        rows.append(
            {
                "name": each.arm.name,
                "title": each.arm.title,
                "description": each.arm.description,
                "control": each.arm.control,
                "learning_rate": rates.get(each.arm.name),
                "accuracy": None if each.accuracy is None else each.accuracy.mean,
                "low": low,
                "high": high,
                "last_loss": each.last_loss,
                "runs": each.runs,
            }
        )
    return rows


def _mean(values: np.ndarray) -> float:
    """Returns the mean of the values that apply; NaN if none does."""
    kept = values[~np.isnan(values)]
    return float(kept.mean()) if len(kept) else float("nan")
