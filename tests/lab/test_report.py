import csv
import dataclasses
import io
import re
from html.parser import HTMLParser

import numpy as np
import pytest
from rich.console import Console
from synthetic_results import SEEDS, make_experiment, make_results, make_rows, make_run

from fcnjax import lab

NASTY = '<script>alert(1)</script> & "q" | [bold]x[/bold] `c` *s* $x^$'


class Page(HTMLParser):
    """Collects tags with their attributes, and the text outside of style sheets."""

    def __init__(self):
        super().__init__()
        self.tags, self.text, self.style = [], "", False

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))
        self.style = tag == "style"

    def handle_endtag(self, tag):
        self.style = False

    def handle_data(self, data):
        self.text += "" if self.style else data.replace("\u00a0", " ").replace("\u2192", "->")


def parsed(path) -> Page:
    page = Page()
    page.feed(path.read_text(encoding="utf-8"))
    return page


@pytest.fixture(scope="module")
def nasty_report():
    experiment = make_experiment()
    arms = tuple(dataclasses.replace(a, title=NASTY) if a.name == "linear-conv" else a for a in experiment.arms)
    changed = make_results(experiment=dataclasses.replace(experiment, arms=arms))
    return lab.build_report(changed, [lab.accuracy_difference(changed, "linear-conv", "linear-gap")])


def test_sections_come_in_order(report):
    assert [section.title for section in report.sections] == [
        "The question",
        "The answer",
        "The arms",
        "One function?",
        "Accuracy by test size",
        "Class maps",
        "How it was measured",
    ]


def test_html_is_one_file_that_loads_nothing(report, tmp_path):
    path = lab.write_html(report, tmp_path / "new" / "report.html")
    page = parsed(path)
    images = [attributes["src"] for tag, attributes in page.tags if tag == "img"]
    assert len(images) == 4
    assert all(source.startswith("data:image/png;base64,") for source in images)
    assert not [tag for tag, _ in page.tags if tag in ("script", "link", "iframe", "object")]
    text = re.sub(r"base64,[^\"]*", "", path.read_text(encoding="utf-8"))
    assert not re.search(r"https?:|@import|url\(|(src|href)\s*=\s*[\"'](?!data:)", text)
    assert [p.name for p in path.parent.iterdir()] == ["report.html"]


def test_html_holds_every_claim_and_cell(report, tmp_path):
    page = parsed(lab.write_html(report, tmp_path / "report.html"))
    for section in report.sections:
        for claim in section.claims:
            assert claim.statement in page.text
            assert claim.evidence in page.text
        for table in section.tables:
            assert all(cell in page.text for row in table.rows for cell in row)


def test_html_escapes_titles(nasty_report, tmp_path):
    page = parsed(lab.write_html(nasty_report, tmp_path / "report.html"))
    assert "script" not in [tag for tag, _ in page.tags]
    assert NASTY in page.text


def test_markdown_figures_exist_and_its_tables_stay_tables(nasty_report, tmp_path):
    path = lab.write_markdown(nasty_report, tmp_path / "report.md")
    text = path.read_text(encoding="utf-8")
    figures = re.findall(r"!\[[^\]]*\]\(([^)]*)\)", text)
    assert len(figures) == 3
    for figure in figures:
        assert (tmp_path / figure).read_bytes().startswith(b"\x89PNG")
    assert "<script>" not in text.replace("\\<", "")
    for block in re.findall(r"(?:^\|.*\n)+", text, flags=re.M):
        widths = {len(re.findall(r"(?<!\\)\|", line)) for line in block.splitlines()}
        assert len(widths) == 1


def test_csv_has_one_row_per_arm_and_seed_with_exact_values(results, tmp_path):
    path = lab.write_csv(results, tmp_path / "results.csv")
    rows = list(csv.DictReader(io.StringIO(path.read_text(encoding="utf-8"))))
    assert [(row["arm"], int(row["seed"])) for row in rows] == [
        (name, seed) for name in results.experiment.names for seed in SEEDS
    ]
    for row in rows:
        run = next(r for r in results.runs if (r.arm, r.seed) == (row["arm"], int(row["seed"])))
        assert float(row["accuracy"]) == run.accuracy == int(row["correct"]) / int(row["count"])
        assert np.float32(row["final_training_loss"]) == run.losses[-1]
        assert float(row["median_step_ms"]) == np.median(results.cost(run.arm).step_ms)
        if row["baseline"]:
            base = next(r for r in results.runs if (r.arm, r.seed) == (row["baseline"], run.seed))
            assert float(row["paired_difference"]) == run.accuracy - base.accuracy
        else:
            assert row["paired_difference"] == ""


def test_a_spreadsheet_runs_no_title_and_reads_every_number(tmp_path):
    experiment = make_experiment()
    arms = tuple(dataclasses.replace(arm, title=f"=1+{index}") for index, arm in enumerate(experiment.arms))
    results = make_results(experiment=dataclasses.replace(experiment, arms=arms))
    rows = list(csv.DictReader(io.StringIO(lab.write_csv(results, tmp_path / "results.csv").read_text())))
    assert {row["title"] for row in rows} == {f"'=1+{index}" for index in range(len(arms))}
    differences = [float(row["paired_difference"]) for row in rows if row["paired_difference"]]
    assert min(differences) < 0


def test_equal_results_give_equal_pictures(results):
    first, second = (lab.picture("a", lab.accuracy_figure(results), "") for _ in range(2))
    assert first.png == second.png


def test_terminal_tables_show_titles_as_they_are(nasty_report):
    console = Console(file=io.StringIO(), width=300)
    lab.print_tables(nasty_report, console)
    printed = console.file.getvalue()  # pyright: ignore[reportAttributeAccessIssue]
    assert NASTY in printed
    assert "have the same accuracy with each of 5 seeds" in printed


def test_a_report_of_one_seed_says_that_intervals_are_unknown(tmp_path):
    single = make_results(runs=tuple(make_run(name, 0) for name in make_experiment().names), facts={})
    claims = [lab.accuracy_difference(single, arm.name, base.name) for arm, base in single.experiment.pairs]
    text = lab.write_markdown(lab.build_report(single, claims), tmp_path / "report.md").read_text(encoding="utf-8")
    assert "unknown, n = 1" in text
    assert "With one seed there is no interval" in text
    assert not re.search(r"\bnan\b", text)


def test_a_single_arm_without_pairs_makes_a_report(tmp_path):
    experiment = lab.Experiment("one", "How good is it?", (lab.Arm("linear-gap", "linear"),))
    costs = (lab.ArmCost("linear-gap", 0.0, (1.0,)),)
    alone = make_results(experiment=experiment, runs=tuple(make_run("linear-gap", s) for s in SEEDS), costs=costs)
    report = lab.build_report(alone, [lab.all_above(alone, 0.9)])
    assert "One function?" not in [section.title for section in report.sections]
    lab.write_html(report, tmp_path / "report.html")


def test_a_diverged_arm_still_makes_a_report(results, tmp_path):
    runs = tuple(
        dataclasses.replace(r, losses=np.full_like(r.losses, np.nan), final_logits=r.final_logits * np.nan)
        if r.arm == "softmax-pool"
        else r
        for r in results.runs
    )
    broken = make_results(runs=runs)
    claims = [lab.accuracy_difference(broken, "softmax-pool", "linear-gap"), lab.all_above(broken, 0.96)]
    assert [claim.holds for claim in claims] == [True, False]
    lab.write_html(lab.build_report(broken, claims), tmp_path / "report.html")


def test_every_arm_has_its_own_color_and_marker():
    styles = lab.arm_styles(make_experiment())
    assert len({color for color, _ in styles.values()}) == 6
    assert len({marker for _, marker in styles.values()}) == 6


def test_class_maps_are_drawn_at_one_scale():
    figure = lab.class_map_panel(make_rows())
    inches = figure.get_size_inches()
    cells = [axes.get_position().size * inches for axes in figure.axes[:16]]
    pixels = [(image.shape[1], image.shape[0]) for row in make_rows() for image in [row.image] * 4]
    np.testing.assert_allclose(np.array(cells) / pixels, 1.25 / 40)


def test_class_map_scales_are_shared_or_one_per_arm():
    assert len(lab.class_map_panel(make_rows()).axes) == 16 + 1
    assert len(lab.class_map_panel(make_rows(), shared=False).axes) == 16 + 3


def test_class_map_rows_validate_themselves():
    row = make_rows()[0]
    with pytest.raises(ValueError, match=r"image of shape \(16, 18\): must be"):
        dataclasses.replace(row, image=row.image[:, :, 0])
    with pytest.raises(ValueError, match="must be of the same arms"):
        dataclasses.replace(row, predictions={})
    with pytest.raises(ValueError, match=r"a class in \[0, K\)"):
        dataclasses.replace(row, predictions=dict.fromkeys(row.maps, 10))
    with pytest.raises(ValueError, match="at least one row"):
        lab.class_map_panel([])


def test_flat_images_and_flat_maps_are_drawn_without_warnings():
    flat = lab.ClassMapRow(np.zeros((16, 16, 3)), {"a": np.zeros((2, 2, 10))}, {"a": 1}, 1)
    assert lab.picture("flat", lab.class_map_panel([flat]), "flat").png.startswith(b"\x89PNG")


def test_tables_refuse_ragged_rows():
    with pytest.raises(ValueError, match=r"rows\[0\]=\('x',\): must have 2 cells"):
        lab.Table(("a", "b"), (("x",),))
