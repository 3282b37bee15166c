import csv
import dataclasses
import io
import re

import numpy as np
import pytest
from html_pages import Page, assert_alone
from rich.console import Console
from synthetic_report import SEEDS, make_decisions, make_experiment, make_observations, make_plan, make_report

from fcnjax.lab import report as pages
from fcnjax.lab.experiment import Finding, Setting
from fcnjax.lab.observations import Observations

NASTY = '<script>alert(1)</script> & "q" | [bold]x[/bold] `c` *s* $x^$'
VERDICTS = ("holds", "holds", "fails", "holds")  # of the four claims about these arms that are not exploratory
FEW = ("linear-gap", "softmax-pool", "linear-again", "shuffled")


def all_sections(sections):
    return [each for section in sections for each in (section, *all_sections(section.parts))]


def small(arms=FEW, **changes):
    """Returns an experiment of few arms, with the claims about them alone."""
    whole = make_experiment()
    kept = tuple(arm for arm in whole.arms if arm.name in arms)
    claims = tuple(claim for claim in whole.claims if set(claim.arms) <= set(arms))
    return dataclasses.replace(whole, **{"arms": kept, "claims": claims, **changes})


def small_report(experiment=None, observations=None, **changes):
    experiment = experiment or small()
    observations = observations or make_observations(experiment.names)
    return make_report(experiment=experiment, observations=observations, **{"pictures": (), **changes})


@pytest.fixture
def no_plots(monkeypatch):
    """Leaves the plots out, which take most of the time of a report."""
    monkeypatch.setattr("fcnjax.lab.report.report.chart", lambda name, draw, caption: pages.Picture(name, b"", caption))


@pytest.fixture(scope="module")
def nasty():
    experiment = small()
    arms = tuple(dataclasses.replace(arm, title=NASTY, description=NASTY) for arm in experiment.arms)
    claims = tuple(dataclasses.replace(claim, statement=f"{i} {NASTY}") for i, claim in enumerate(experiment.claims))
    changed = dataclasses.replace(
        experiment, arms=arms, claims=claims, title=NASTY, question=NASTY, findings={"digits": Finding(NASTY, VERDICTS)}
    )
    return small_report(changed, facts={NASTY: NASTY})


def test_the_answer_comes_first_and_sections_in_order(report):
    assert [section.title for section in all_sections(report.sections)] == [
        "Verdicts",
        "Primary claims",
        "Exact claims",
        "Controls",
        "Exploratory",
        "All contrasts",
        "Arms",
        "Accuracy by size",
        "What was measured",
        "Pictures",
        "Power and tuning",
        "How it was measured",
    ]


def test_every_claim_is_shown_once_in_its_group(report, experiment, observations):
    sections = {section.title: section for section in all_sections(report.sections)}
    shown = {
        name: [verdict.statement for verdict in sections[name].verdicts]
        for name in ("Primary claims", "Exact claims", "Controls")
    }
    shown["Exploratory"] = [row[0] for row in sections["Exploratory"].tables[0].rows]
    assert sorted(statement for group in shown.values() for statement in group) == sorted(
        claim.statement for claim in experiment.claims
    )
    assert shown["Controls"] == [
        "The same arm with other seeds is as accurate",
        "Shuffled labels are as good as true ones",
        "Orders across a ReLU are one function",
    ]
    assert "Batch norm in the head changes nothing" in shown["Exploratory"], "its planned power is 0.63"
    reasons = {row[0]: row[1] for row in sections["Exploratory"].tables[0].rows}
    assert reasons["Batch norm in the head changes nothing"] == "planned power 0.63 is below 0.8"
    assert reasons["Attention is as accurate as the mean, small digits"] == "declared exploratory"


def test_html_is_one_file_that_loads_and_runs_nothing(report, tmp_path):
    path = pages.write_html(report, tmp_path / "new" / "report.html")
    page = Page(path)
    assert_alone(page)
    images = page.attributes("img", "src")
    assert len(images) == 5
    assert all(source.startswith("data:image/png;base64,") for source in images)
    assert len(page.attributes("source", "srcset")) == 4, "each plot has a second one for phones"
    assert all(page.attributes("img", "alt"))
    assert [p.name for p in path.parent.iterdir()] == ["report.html"]


def test_html_and_markdown_hold_every_verdict_and_cell(report, tmp_path):
    page = Page(pages.write_html(report, tmp_path / "report.html")).text
    text = pages.write_markdown(report, tmp_path / "report.md").read_text(encoding="utf-8")
    text = re.sub(r"\\(.)", r"\1", text)
    for section in all_sections(report.sections):
        for verdict in section.verdicts:
            for part in (verdict.words, verdict.statement, verdict.evidence):
                assert part in page
                assert part in text
        for table in section.tables:
            for cell in (cell for row in table.rows for cell in row):
                assert cell in page
                assert cell in text


def test_html_escapes_all_texts(nasty, tmp_path):
    page = Page(pages.write_html(nasty, tmp_path / "report.html"))
    assert "script" not in [tag for tag, _ in page.tags]
    assert page.text.count(NASTY) >= 10


def test_markdown_figures_exist_and_its_tables_stay_tables(nasty, tmp_path):
    path = pages.write_markdown(nasty, tmp_path / "report.md")
    text = path.read_text(encoding="utf-8")
    figures = re.findall(r"!\[[^\]]*\]\(([^)]*)\)", text)
    assert len(figures) == 4
    for figure in figures:
        assert (tmp_path / figure).read_bytes().startswith(b"\x89PNG")
    assert "<script>" not in text.replace("\\<", "")
    for block in re.findall(r"(?:^\|.*\n)+", text, flags=re.M):
        widths = {len(re.findall(r"(?<!\\)\|", line)) for line in block.splitlines()}
        assert len(widths) == 1


def test_the_terminal_shows_texts_as_they_are(nasty):
    console = Console(file=io.StringIO(), width=400)
    pages.print_tables(nasty, console)
    printed = console.file.getvalue()  # pyright: ignore[reportAttributeAccessIssue]
    assert printed.count(NASTY) >= 10
    assert "✓ fails, as it must" in printed


FOUND = "Softmax belongs after the pool. So do others say."


def test_a_finding_is_the_answer_where_it_was_given_for_these_verdicts(no_plots):
    report = small_report(small(findings={"digits": Finding(FOUND, VERDICTS)}))
    assert (report.answer, report.warnings) == (FOUND, ())
    assert small_report().answer == (
        'The first claim holds (+1.84 [+1.02, +2.65] points of accuracy, margin 1 point): "Softmax before the pool is '
        'less accurate than after". Of 2 claims, 2 hold.'
    )


def test_a_finding_about_other_verdicts_is_left_out_and_a_note_says_so(no_plots):
    report = small_report(small(findings={"digits": Finding(FOUND, ("holds", "fails", "fails", "holds"))}))
    assert report.answer.startswith("The first claim holds")
    assert report.warnings == (
        "The written finding is left out: it is about other verdicts (holds, fails, fails, holds) than those of this "
        "run (holds, holds, fails, holds).",
    )


@pytest.mark.parametrize("changes", [{"changed": ("epochs",)}, {"plan": None}, {"seeds": 4}])
def test_a_finding_is_about_the_planned_seeds_and_recipe_alone(no_plots, changes):
    changes = dict(changes)
    settings = {"digits": Setting("configs/digits.py", changes.pop("seeds", SEEDS), 5, blocks=40)}
    report = small_report(small(findings={"digits": Finding(FOUND, VERDICTS)}, settings=settings), **changes)
    assert report.answer.startswith("The first claim holds")
    assert len(report.warnings) == 1
    assert "finding" not in report.warnings[0]


def test_another_recipe_than_planned_is_said(no_plots):
    notes = [small_report(changed=names).warnings for names in (("epochs",), ("epochs", "model.norm"))]
    assert "This run has another recipe than was planned (epochs differs)" in notes[0][0]
    assert "This run has another recipe than was planned (epochs and model.norm differ)" in notes[1][0]


def test_runs_on_several_machines_or_with_several_versions_are_said(no_plots):
    experiment = small()
    whole = make_observations(experiment.names)
    facts = {"hardware": "1 x gpu", "versions": "jax 0.11.0, flax 0.12.8"}
    runs = (dataclasses.replace(whole.runs[0], facts=facts), *whole.runs[1:])
    hardware, versions = small_report(experiment, dataclasses.replace(whole, runs=runs)).warnings
    assert hardware.startswith("The runs were made on different hardware (1 x gpu; 2 CPU cores): what differs")
    assert versions.startswith("The runs were made with different versions (jax 0.11.0; jax 0.10.2): what differs")


def test_nothing_warns_of_a_run_as_planned_and_a_control_that_does_not_fail_does(report, no_plots):
    assert report.warnings == ()
    experiment = small()
    decisions = make_decisions(experiment, make_observations(experiment.names), make_plan())
    changed = [dataclasses.replace(d, verdict="not decided") if d.claim.control else d for d in decisions]
    broken = small_report(experiment, decisions=changed)
    assert len(broken.warnings) == 1
    assert broken.warnings[0].startswith('A control did not fail: "Shuffled labels are as good as true ones".')


def test_fewer_seeds_and_arms_than_planned_and_no_tuning_are_said(no_plots):
    experiment = small()
    partial = small_report(experiment, make_observations(("linear-gap", "softmax-pool"), 2), plan=None, decisions=[])
    said = " ".join(partial.warnings)
    assert "2 of 3 planned seeds" in said
    assert "experiments/results/head_ordering" in said
    assert "not tuned" in said
    assert "2 of 4 arms have no runs" in said
    assert partial.answer.startswith("No claim of this run has a verdict.")


def test_one_run_shows_no_number_that_is_unknown(tmp_path):
    experiment = small(settings={"digits": Setting("configs/digits.py", 1, 1)})
    single = make_observations(experiment.names, 1)
    single = Observations(tuple(run for run in single.runs if run.fold == 0), folds=1)
    report = small_report(experiment, single)
    text = pages.write_markdown(report, tmp_path / "report.md").read_text(encoding="utf-8")
    assert "[unknown]" in text
    assert "tested on the same" in text
    assert not re.search(r"\b(nan|inf|None)\b", text)


def test_a_diverged_arm_without_sizes_or_accuracy_still_makes_a_report(tmp_path):
    experiment = small(("linear-gap", "softmax-pool"), claims=())
    whole = make_observations(experiment.names, 2)
    runs = tuple(
        dataclasses.replace(run, losses=np.full_like(run.losses, np.nan), sizes=np.full_like(run.sizes, 28), values={})
        for run in whole.runs
    )
    report = small_report(experiment, Observations(runs, whole.folds))
    assert [section.title for section in report.sections] == [
        "Verdicts",
        "Arms",
        "What was measured",
        "Power and tuning",
        "How it was measured",
    ]
    text = pages.write_markdown(report, tmp_path / "report.md").read_text(encoding="utf-8")
    assert "not finite" in text
    assert "accuracy, %" not in text


def test_no_runs_make_no_report():
    with pytest.raises(ValueError, match="observations with 0 runs: must have at least 1; run the experiment first"):
        pages.build_report(small(), "digits", Observations((), 5), [])


def test_csv_has_one_row_per_run_with_exact_values(observations, tmp_path):
    path = pages.write_csv(observations, tmp_path / "results.csv")
    rows = list(csv.DictReader(io.StringIO(path.read_text(encoding="utf-8"))))
    runs = {(run.arm, run.seed, run.fold): run for run in observations.runs}
    assert len(rows) == len(runs) == 12 * SEEDS * 5
    for row in rows:
        run = runs[row["arm"], int(row["seed"]), int(row["fold"])]
        assert float(row["mean accuracy"]) == run.values["accuracy"].mean()
        assert float(row["parameters"]) == run.numbers["parameters"]
        assert float(row["last training loss"]) == run.losses[-1]
        assert (row["key"], int(row["examples"]), int(row["steps"])) == (run.key, len(run.ids), len(run.losses))


def test_a_spreadsheet_runs_no_text_and_a_missing_value_is_an_empty_cell(tmp_path):
    run = make_observations(("linear-gap",), 1).runs[0]
    values = {"=rate": np.full(len(run.ids), np.nan)}
    other = dataclasses.replace(run, key="=1+1", values=values, numbers={})
    text = pages.write_csv(Observations((run, other), 5), tmp_path / "results.csv").read_text()
    first, second = csv.DictReader(io.StringIO(text))
    assert second["key"] == "'=1+1"
    assert (first["mean =rate"], second["mean =rate"], second["parameters"]) == ("", "", "")


def test_tables_refuse_ragged_rows():
    with pytest.raises(ValueError, match=r"rows\[0\]=\('x',\): must have 2 cells"):
        pages.Table(("a", "b"), (("x",),))
