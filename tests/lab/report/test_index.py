import json
import re

import pytest
from html_pages import Page, assert_alone
from synthetic_entries import RESULT

from fcnjax.lab import report as pages
from fcnjax.lab.report.index import BEGIN, END

NASTY = "<script>a</script> | [x](y) `c` *s*"


@pytest.fixture
def results(tmp_path):
    """Folders of published results: two experiments and what is none."""
    for name, title in (("head_ordering", RESULT["title"]), ("any_size_mnist", "Any size?")):
        (tmp_path / "results" / name).mkdir(parents=True)
        content = {**RESULT, "name": name, "title": title}
        (tmp_path / "results" / name / "result.json").write_text(json.dumps(content))
    (tmp_path / "results" / "gpu").mkdir()
    (tmp_path / "results" / "gpu" / "other.json").write_text("[]")
    return tmp_path / "results"


def test_entries_come_from_result_files_by_folder(results):
    entries = pages.read_entries(results, within="experiments/results")
    assert [entry.page for entry in entries] == [
        "experiments/results/any_size_mnist/report.md",
        "experiments/results/head_ordering/report.md",
    ]
    assert [entry.page for entry in pages.read_entries(results, pages="report.html")] == [
        "any_size_mnist/report.html",
        "head_ordering/report.html",
    ]
    entry = entries[1]
    assert (entry.controls, entry.failed, entry.runs) == (1, 1, 135)
    assert list(entry.verdicts.items()) == [("holds", 2), ("not decided", 1)]
    assert entry.measured == "jax 0.10.2, 2026-11-27"


def test_a_result_without_what_is_read_is_refused(results):
    (results / "head_ordering" / "result.json").write_text(json.dumps({"name": "old", "claims": []}))
    with pytest.raises(ValueError, match=r"result of 'old': must have \['title', .*\]; publish the experiment again"):
        pages.read_entries(results)


def test_the_index_has_one_entry_per_experiment_and_links_to_its_page(results, tmp_path):
    entries = pages.read_entries(results, pages="report.html")
    page = Page(pages.write_index_html(entries, tmp_path / "index.html"))
    assert_alone(page)
    assert page.attributes("a", "href") == ["any_size_mnist/report.html", "head_ordering/report.html"]
    for text in (RESULT["question"], RESULT["answer"], "✓ 2 hold", "? 1 not decided", "✓ 1 of 1 controls failed"):
        assert page.text.count(text) == 2
    assert "2 experiments, 270 runs. Of 6 claims, 4 hold and 2 are not decided." in page.text
    text = pages.write_index_markdown(entries, tmp_path / "index.md").read_text(encoding="utf-8")
    rows = [line for line in text.splitlines() if line.startswith("| **[")]
    assert len(rows) == 2
    assert "](head_ordering/report.html)" in rows[1]
    assert all(RESULT["answer"] in row for row in rows)


def test_the_index_escapes_texts(tmp_path):
    entry = pages.entry_of({**RESULT, "title": NASTY, "answer": NASTY, "setting": NASTY}, "a b")
    page = Page(pages.write_index_html([entry], tmp_path / "index.html"))
    assert "script" not in [tag for tag, _ in page.tags]
    assert page.text.count(NASTY) == 3
    text = pages.write_index_markdown([entry], tmp_path / "index.md").read_text(encoding="utf-8")
    assert "<script>" not in text.replace("\\<", "")
    assert len({len(re.findall(r"(?<!\\)\|", line)) for line in text.splitlines() if line.startswith("|")}) == 1
    assert "](a%20b/report.md)" in text


def test_a_control_that_did_not_fail_is_bad_news(tmp_path):
    claims = [{**claim, "verdict": "holds"} if claim["control"] else claim for claim in RESULT["claims"]]
    page = Page(pages.write_index_html([pages.entry_of({**RESULT, "claims": claims})], tmp_path / "index.html"))
    assert "✗ 0 of 1 controls failed" in page.text


def test_the_readme_says_answers_and_how_many_claims_hold():
    section = pages.readme_section([pages.entry_of(RESULT, "experiments/results/head_ordering")])
    assert section == (
        "**[Pool first or classify first?](experiments/results/head_ordering/report.md)** (digits, 135 runs: "
        f"✓ 2 hold · ? 1 not decided · 1 of 1 controls failed). {RESULT['answer']}"
    )


def test_a_readme_is_updated_between_its_markers_and_nowhere_else(tmp_path):
    path = tmp_path / "README.md"
    path.write_text(f"# Title\n\n{BEGIN}\nbefore\n{END}\n\nrest\n")
    entries = [pages.entry_of(RESULT, "results/head_ordering")]
    first = pages.update_readme(path, entries).read_text(encoding="utf-8")
    assert first.startswith(f"# Title\n\n{BEGIN}\n\n**[Pool first")
    assert first.endswith(f"\n\n{END}\n\nrest\n")
    assert "before" not in first
    assert pages.update_readme(path, entries).read_text(encoding="utf-8") == first


@pytest.mark.parametrize("text", ["", f"{BEGIN}\n", f"{END}\n{BEGIN}\n", f"{BEGIN}\n{END}\n{BEGIN}\n{END}\n"])
def test_a_readme_without_its_markers_is_left_alone(tmp_path, text):
    path = tmp_path / "README.md"
    path.write_text(text)
    with pytest.raises(ValueError, match=r"must have <!-- results: begin --> and below it .*; add them"):
        pages.update_readme(path, [])
    assert path.read_text() == text
