"""The index over all experiments, and the README's section of results, both from published `result.json` files.

What is read of a `result.json`:

- `name`, `title`, `question`, `setting`, `answer`: texts.
- `verdicts`: number of primary and exact claims by verdict.
- `claims`: for each its `verdict`, and `control`.
- `runs`: one entry per run.
- `page`: path of the report, from the folder of the result.
- `facts`, with `versions`, and `times`, with `ended`: texts, shown if they are there.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fcnjax.atomic import read_json, write_text
from fcnjax.lab.report.words import SYMBOLS, TONES, count_words, counted
from fcnjax.lab.report.writers import plain, render_html

BEGIN, END = "<!-- results: begin -->", "<!-- results: end -->"  # the README's section stands between them
_NEEDED = ("name", "title", "question", "setting", "answer", "verdicts", "claims", "runs", "page")


@dataclass(frozen=True)
class Entry:
    """A published experiment as the index shows it.

    Attributes:
        title: heading of the experiment.
        question: what was asked.
        answer: what was found.
        setting: name of the data.
        verdicts: number of primary and exact claims by verdict.
        controls: number of claims that must fail.
        failed: number of those that did.
        runs: number of runs.
        measured: versions, and the day on which the runs ended; may be empty.
        page: path of the report, from the page that links to it.
    """

    title: str
    question: str
    answer: str
    setting: str
    verdicts: Mapping[str, int]
    controls: int
    failed: int
    runs: int
    measured: str
    page: str

    @property
    def control_words(self) -> str:
        """Whether what is broken on purpose failed, such as `2 of 2 controls failed`; empty without controls."""
        return f"{self.failed} of {self.controls} controls failed" if self.controls else ""


def entry_of(result: Mapping[str, Any], folder: str = "") -> Entry:
    """Returns a published result as an entry.

    Args:
        result: content of a `result.json`.
        folder: where it lies, from the page that links to its report; with `/` between names.

    Raises:
        ValueError: if the result lacks a field that is read.
    """
    missing = [name for name in _NEEDED if name not in result]
    if missing:
        raise ValueError(
            f"result of {result.get('name', folder)!r}: must have {missing}; publish the experiment again."
        )
    controls = [claim for claim in result["claims"] if claim.get("control")]
    counts = result["verdicts"]
    ended = str(result.get("times", {}).get("ended", ""))[:10]
    return Entry(
        title=result["title"],
        question=result["question"],
        answer=result["answer"],
        setting=result["setting"],
        verdicts={verdict: counts[verdict] for verdict in ("holds", "fails", "not decided") if counts.get(verdict)},
        controls=len(controls),
        failed=sum(claim["verdict"] == "fails" for claim in controls),
        runs=len(result["runs"]),
        measured=", ".join(filter(None, (result.get("facts", {}).get("versions", ""), ended))),
        page=f"{folder}/{result['page']}" if folder else result["page"],
    )


def read_entries(folder: Path | str, pages: str | None = None, within: str = "") -> list[Entry]:
    """Returns the published results below a folder, `*/result.json`, by name of their folders.

    Args:
        folder: folder of results.
        pages: file name of the reports to link to; None takes that of each result.
        within: path of the folder from the page that links to the reports; empty if it lies there.

    Raises:
        ValueError: if a file is not such a result.
    """
    entries = []
    for path in sorted(Path(folder).glob("*/result.json")):
        result = read_json(path)
        place = "/".join(filter(None, (within, path.parent.name)))
        entries.append(entry_of({**result, "page": pages} if pages else result, place))
    return entries


def write_index_html(entries: Sequence[Entry], path: Path | str) -> Path:
    """Writes the index as one HTML file that loads nothing, and returns the path."""
    return write_text(path, render_html("index.html.jinja", {"entries": entries, "words": summary_words(entries)}))


def write_index_markdown(entries: Sequence[Entry], path: Path | str) -> Path:
    """Writes the index as GitHub Markdown and returns the path."""
    lines = ["| experiment | answer | verdicts | data | measured with |", "| --- | --- | --- | --- | --- |"]
    for entry in entries:
        counts = " · ".join(_counts(entry))
        link = f"**[{plain(entry.title)}]({_url(entry.page)})** {plain(entry.question)}"
        cells = (entry.answer, counts, f"{entry.setting}, {entry.runs:,} runs", entry.measured)
        lines.append(f"| {' | '.join((link, *map(plain, cells)))} |")
    parts = ("# The laboratory", summary_words(entries), "\n".join(lines))
    return write_text(path, "\n\n".join(parts) + "\n")


def summary_words(entries: Sequence[Entry]) -> str:
    """Returns how many experiments, runs and verdicts there are, in two sentences."""
    totals = {verdict: sum(entry.verdicts.get(verdict, 0) for entry in entries) for verdict in TONES if verdict}
    totals = {verdict: count for verdict, count in totals.items() if count}
    runs = sum(entry.runs for entry in entries)
    opening = f"{len(entries)} experiment{'s' * (len(entries) != 1)}, {runs:,} runs."
    return f"{opening} {count_words(totals)}" if totals else opening


def readme_section(entries: Iterable[Entry]) -> str:
    """Returns the README's section of results: for each experiment its verdicts, counted, and its answer."""
    parts = []
    for entry in entries:
        extent = f"{plain(entry.setting)}, {entry.runs:,} runs: {' · '.join(_counts(entry))}"
        parts.append(f"**[{plain(entry.title)}]({_url(entry.page)})** ({extent}). {plain(entry.answer)}")
    return "\n\n".join(parts)


def has_section(path: Path | str) -> bool:
    """Returns whether a README has a marker of the section of results."""
    text = Path(path).read_text(encoding="utf-8")
    return BEGIN in text or END in text


def update_readme(path: Path | str, entries: Sequence[Entry]) -> Path:
    """Writes the section of results between the two marker comments of a README and returns the path.

    Raises:
        ValueError: unless the README has each marker once, in order.
    """
    text = Path(path).read_text(encoding="utf-8")
    if (text.count(BEGIN), text.count(END)) != (1, 1) or text.index(BEGIN) > text.index(END):
        raise ValueError(f"{path}: must have {BEGIN} and below it {END}, each once; add them where the results belong.")
    before, after = text[: text.index(BEGIN)], text[text.index(END) :]
    return write_text(path, f"{before}{BEGIN}\n\n{readme_section(entries)}\n\n{after}")


def _counts(entry: Entry) -> list[str]:
    """Returns the verdicts of an entry, counted, and whether its controls failed."""
    counts = [f"{SYMBOLS[TONES[verdict]]} {counted(verdict, count)}" for verdict, count in entry.verdicts.items()]
    return [*counts, *filter(None, [entry.control_words])]


def _url(page: str) -> str:
    """Returns a path for a Markdown link; brackets and spaces would end it."""
    return page.replace(" ", "%20").replace("(", "%28").replace(")", "%29")
