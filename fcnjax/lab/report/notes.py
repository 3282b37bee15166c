"""What a reader must know before the verdicts: controls that did not fail, and how a run departs from its plan."""

from collections.abc import Iterable, Sequence

from fcnjax.lab.decisions import Decision
from fcnjax.lab.observations import Observations
from fcnjax.lab.plan import Plan
from fcnjax.lab.report.summaries import Summary
from fcnjax.lab.report.words import failed_controls, finding_of, listed, verdict_words

CONDITIONS = {"hardware": "on different hardware", "versions": "with different versions"}  # facts of runs


def is_as_planned(planned_seeds: int, observations: Observations, plan: Plan | None, changed: Sequence[str]) -> bool:
    """Returns whether runs have the seeds and the recipe of a plan.

    Args:
        planned_seeds: number of seeds of the setting.
        observations: all runs.
        plan: the plan; None if there is none.
        changed: fields of the recipe that differ from the plan.
    """
    return plan is not None and not changed and len({run.seed for run in observations.runs}) == planned_seeds


def notes(
    summary: Summary,
    setting_name: str,
    observations: Observations,
    decisions: Sequence[Decision],
    plan: Plan | None,
    changed: Sequence[str] = (),
) -> tuple[str, ...]:
    """Returns what keeps the verdicts of a run from being trusted or compared, a sentence or two each.

    Args:
        summary: of all arms.
        setting_name: name of the setting.
        observations: all runs.
        decisions: the decided claims.
        plan: the plan; None if there is none.
        changed: fields of the recipe that differ from the plan.
    """
    controls = (
        f'A control did not fail: "{statement}". Trust no verdict of this page before the reason is known.'
        for statement in failed_controls(decisions)
    )
    planned = _plan_notes(summary, setting_name, plan, changed)
    if is_as_planned(summary.experiment.setting(setting_name).seeds, observations, plan, changed):
        planned += _finding_notes(summary, setting_name, decisions)
    return (*controls, *planned, *_run_notes(summary, observations))


def _plan_notes(summary: Summary, setting_name: str, plan: Plan | None, changed: Sequence[str]) -> list[str]:
    found, setting = [], summary.experiment.setting(setting_name)
    if summary.seeds < setting.seeds:
        first = setting_name == next(iter(summary.experiment.settings))
        folder = summary.experiment.name + ("" if first else f"_{setting_name}")
        found.append(
            f"This run has {summary.seeds} of {setting.seeds} planned seeds, so it decides less than was planned; for "
            f"all seeds see experiments/results/{folder}, or run it without --seeds."
        )
    if changed:
        fields = f"{listed(changed)} differ{'s' * (len(changed) == 1)}"
        found.append(
            f"This run has another recipe than was planned ({fields}): neither the tuned learning rates nor the "
            "planned power are of this recipe."
        )
    if plan is None and summary.experiment.tuned:
        found.append("The arms were not tuned: differences between them may come from the learning rate.")
    return found


def _finding_notes(summary: Summary, setting_name: str, decisions: Sequence[Decision]) -> list[str]:
    """Returns whether there is a finding that was written for other verdicts."""
    finding = summary.experiment.findings.get(setting_name)
    if finding is None or finding_of(summary.experiment, setting_name, decisions):
        return []
    before, now = (", ".join(verdicts) for verdicts in (finding.verdicts, verdict_words(decisions)))
    return [f"The written finding is left out: it is about other verdicts ({before}) than those of this run ({now})."]


def _run_notes(summary: Summary, observations: Observations) -> list[str]:
    found, missing = [], len(summary.experiment.arms) - len(summary.arms)
    if missing:
        found.append(f"{missing} of {len(summary.experiment.arms)} arms have no runs.")
    for name, words in CONDITIONS.items():
        texts = list(dict.fromkeys(run.facts[name] for run in observations.runs if name in run.facts))
        if len(texts) > 1:
            found.append(
                f"The runs were made {words} ({'; '.join(_what_differs(texts))}): what differs between them may come "
                "from that. Remove the folder of the runs to repeat them."
            )
    return found


def _what_differs(texts: Iterable[str]) -> list[str]:
    """Returns the parts of lists that not all of them have, such as the versions of the packages that changed."""
    parts = [text.split(", ") for text in texts]
    shared = set.intersection(*map(set, parts))
    return [", ".join(part for part in each if part not in shared) or "nothing else" for each in parts]
