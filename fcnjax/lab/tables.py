"""Tables of `Results`: rows of words, the same for every output format."""

from dataclasses import dataclass

import numpy as np

from fcnjax.lab.claims import accuracy_words
from fcnjax.lab.measures import SizeBins, accuracy_by_bin, compare_functions
from fcnjax.lab.results import Results
from fcnjax.lab.statistics import paired_interval, scientific


@dataclass(frozen=True)
class Table:
    """A table of words.

    Attributes:
        columns: headings.
        rows: cells, one per column in each row.
        caption: what the table shows; may be empty.
        left: number of columns that are aligned to the left; the others are aligned to the right, like numbers.

    Raises:
        ValueError: if a row has more or fewer cells than there are columns.
    """

    columns: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    caption: str = ""
    left: int = 1

    def __post_init__(self):
        for i, row in enumerate(self.rows):
            if len(row) != len(self.columns):
                raise ValueError(
                    f"rows[{i}]={row}: must have {len(self.columns)} cells, one per column {self.columns}."
                )


def arm_table(results: Results) -> Table:
    """Returns one row per arm: description, accuracy, paired difference, multiply-adds and step time."""
    experiment = results.experiment
    rows = []
    for arm in experiment.arms:
        cost = results.cost(arm.name)
        difference = "(baseline)"
        if arm.baseline is not None:
            pair = paired_interval(results.accuracies(arm.name), results.accuracies(arm.baseline))
            difference = pair.words(scale=100, signed=True)
        low, high = min(cost.step_ms), max(cost.step_ms)
        time = f"{cost.median_step_ms:.2f} ({low:.2f} to {high:.2f})"
        rows.append(
            (
                arm.title,
                arm.description,
                accuracy_words(results, arm.name),
                difference,
                f"{cost.head_multiply_adds:,.0f}",
                time,
            )
        )
    columns = (
        "arm",
        experiment.varies,
        "test accuracy, % [95 %]",
        "difference to baseline, points [95 %]",
        "head multiply-adds per image",
        "step time, ms (min to max)",
    )
    if experiment.varies == "arm":  # the default, which would repeat the first heading
        columns = (columns[0], "description", *columns[2:])
    caption = f"Accuracies: mean over seeds (n = {len(results.seeds)}), {results.test_count} test examples."
    return Table(columns, tuple(rows), caption, left=2)


def function_table(results: Results, loss_steps: int = 50) -> Table:
    """Returns one row per pair of arms that should be one function: their largest differences over all seeds."""
    rows, steps = [], loss_steps
    for a, b in results.experiment.equal_functions:
        found = compare_functions(results, a, b, loss_steps)
        steps = min(steps, found.loss_steps)
        titles = f"{results.experiment.arm(a).title} = {results.experiment.arm(b).title}"
        differing = f"{found.differing} of {found.predictions}"
        rows.append((titles, scientific(found.initial), scientific(found.loss), scientific(found.final), differing))
    columns = (
        "pair",
        "logits at initialization",
        f"losses, first {steps} steps",
        "logits after training",
        "predictions that differ",
    )
    return Table(columns, tuple(rows), "Largest relative differences over all seeds.")


def size_table(results: Results, bins: SizeBins) -> Table:
    """Returns one row per arm and one column per size bin: accuracy in per cent with its interval over examples."""
    headings = (f"{label} {bins.unit} (n = {count})" for label, count in zip(bins.labels, bins.counts, strict=True))
    rows = tuple(
        (arm.title, *(interval.words(scale=100, digits=1) for interval in accuracy_by_bin(results, arm.name, bins)))
        for arm in results.experiment.arms
    )
    caption = "Test accuracy, % [95 % interval over test examples], by side of the example; mean over seeds."
    return Table(("arm", *headings), rows, caption)


def fact_table(results: Results) -> Table:
    """Returns one row per fact about how the results were measured."""
    return Table(("what", "value"), tuple(results.facts.items()), left=2)


def run_rows(results: Results) -> list[dict[str, str]]:
    """Returns one row per arm and seed for `write_csv`: numbers in full precision, empty cells without a baseline."""
    rows = []
    for arm in results.experiment.arms:
        cost = results.cost(arm.name)
        reference = None if arm.baseline is None else results.accuracies(arm.baseline)
        for i, run in enumerate(results.runs_of(arm.name)):
            rows.append(
                {
                    "arm": arm.name,
                    "title": arm.title,
                    "seed": str(run.seed),
                    "accuracy": repr(run.accuracy),
                    "correct": str(int(np.sum(run.correct))),
                    "count": str(results.test_count),
                    "baseline": arm.baseline or "",
                    "paired_difference": "" if reference is None else repr(run.accuracy - float(reference[i])),
                    "steps": str(len(run.losses)),
                    "final_training_loss": repr(float(run.losses[-1])),
                    "head_multiply_adds": repr(float(cost.head_multiply_adds)),
                    "median_step_ms": repr(cost.median_step_ms),
                }
            )
    return rows
