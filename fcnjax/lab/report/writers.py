"""Writers of a `Report`: CSV, Markdown with figure files, one self-contained HTML file, and tables on the terminal.

Every file is written whole or not at all. An HTML file escapes all text, holds its figures, loads nothing and runs
nothing.
"""

import base64
import csv
import io
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jinja2
from rich.console import Console
from rich.markup import escape

from fcnjax.atomic import write_bytes, write_text
from fcnjax.lab.observations import Observations
from fcnjax.lab.report.report import Picture, Report, Section
from fcnjax.lab.report.tables import Table, run_rows
from fcnjax.lab.report.words import SYMBOLS, TONES, counted
from fcnjax.naming import spreadsheet_text
from fcnjax.table_style import tight_table


def write_csv(observations: Observations, path: Path | str) -> Path:
    """Writes one row per run, with full precision, and returns the path.

    Columns: arm, seed, fold, key, examples, the mean of each metric, each number, steps, last training loss. An
    apostrophe precedes a text that a spreadsheet would run.

    Raises:
        OSError: if the file cannot be written.
    """
    rows = run_rows(observations)
    buffer = io.StringIO(newline="")
    writer = csv.DictWriter(buffer, list(rows[0]), lineterminator="\n")
    writer.writeheader()
    writer.writerows({name: spreadsheet_text(cell) for name, cell in row.items()} for row in rows)
    return write_text(path, buffer.getvalue())


def write_markdown(report: Report, path: Path | str) -> Path:
    """Writes the report as GitHub Markdown, with its pictures in `figures/` beside it, and returns the path.

    Raises:
        OSError: if a file cannot be written.
    """
    path = Path(path)
    for drawn in _pictures(report.sections):
        write_bytes(path.parent / "figures" / f"{drawn.name}.png", drawn.png)
    counts = " · ".join(counted(verdict, count) for verdict, count in report.counts.items())
    parts = [f"# {plain(report.title)}", plain(report.question), f"**{plain(report.answer)}**"]
    parts.append(plain(" · ".join(filter(None, (counts, report.extent)))))
    parts += [f"> **Note:** {plain(warning)}" for warning in report.warnings]
    for section in report.sections:
        parts += _markdown_section(section, 2)
    return write_text(path, "\n\n".join(parts) + "\n")


def write_html(report: Report, path: Path | str) -> Path:
    """Writes the report as one HTML file, with its pictures inside, and returns the path.

    Raises:
        OSError: if the file cannot be written.
    """
    return write_text(path, render_html("report.html.jinja", {"report": report}))


def render_html(template: str, values: Mapping[str, Any]) -> str:
    """Returns a page: a template of this folder, with all values escaped."""
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("fcnjax.lab.report", "."),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["typeset"] = _typeset
    environment.globals |= {"counted": counted, "tones": TONES, "symbols": SYMBOLS}
    environment.filters["base64"] = lambda content: base64.b64encode(content).decode("ascii")
    return environment.get_template(template).render(**values)


def print_tables(report: Report, console: Console | None = None) -> None:
    """Prints the answer, the verdicts and the tables of the report on the terminal.

    Args:
        report: what to print.
        console: where to print it; standard output by default.
    """
    console = console or Console()
    console.print(f"[bold]{escape(report.title)}[/bold]\n{escape(report.answer)}")
    for warning in report.warnings:
        console.print(f"[yellow]Note:[/yellow] {escape(warning)}")
    for section in report.sections:
        _print_section(section, console)


def print_table(table: Table, console: Console | None = None) -> None:
    """Prints a table with its caption on the terminal.

    Args:
        table: what to print.
        console: where to print it; standard output by default.
    """
    drawn = tight_table(*map(escape, table.columns), title=escape(table.caption) or None, left=table.left)
    for row in table.rows:
        drawn.add_row(*map(escape, row))
    (console or Console()).print(drawn)


def plain(text: str) -> str:
    """Returns the text on one line, with everything escaped that Markdown or HTML in Markdown would interpret."""
    line = re.sub(r"([\\`*|<~])", r"\\\1", " ".join(text.split()))
    return re.sub(r"\](?=[(\[])", r"\]", line)  # brackets alone do not make a link


def _pictures(sections: tuple[Section, ...]) -> list[Picture]:
    return [each for section in sections for each in (*section.pictures, *_pictures(section.parts))]


def _print_section(section: Section, console: Console) -> None:
    if section.verdicts or section.tables:
        console.print(f"\n[bold]{escape(section.title)}[/bold]")
    for verdict in section.verdicts:
        color = {"good": "green", "bad": "red", "open": "yellow", "plain": "dim"}[verdict.tone]
        console.print(f"[{color}]{verdict.symbol} {verdict.words}[/{color}]: {escape(verdict.statement)}")
        console.print(f"  [dim]{escape(verdict.evidence)}[/dim]")
    for table in section.tables:
        print_table(table, console)
    for part in section.parts:
        _print_section(part, console)


def _markdown_section(section: Section, level: int) -> list[str]:
    parts = [f"{'#' * level} {plain(section.title)}", *map(plain, section.paragraphs)]
    if section.verdicts:
        lines = (f"- {v.symbol} **{v.words}**: {plain(v.statement)}. {plain(v.evidence)}" for v in section.verdicts)
        parts.append("\n".join(lines))
    for table in section.tables:
        parts += [_markdown_table(table), *filter(None, [plain(table.caption)])]
    for part in section.parts:
        parts += _markdown_section(part, level + 1)
    for drawn in section.pictures:
        caption = plain(drawn.caption)
        parts += [f"![{caption}](figures/{drawn.name}.png)", caption]
    return parts


def _markdown_table(table: Table) -> str:
    """Returns a table of GitHub Markdown, without its caption."""
    head, *rows = ([plain(cell) for cell in cells] for cells in (table.columns, *table.rows))
    rule = ["---" if i < table.left else "---:" for i in range(len(table.columns))]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in (head, rule, *rows))


def _typeset(text: str) -> str:
    """Returns the text with intervals, counts and errors that stay on one line, minus signs, and arrows."""
    kept = re.sub(
        r"\[[^\[\]]{1,30}\]|\([^()]{0,20}\d[^()]{0,20}\)", lambda found: found[0].replace(" ", "\u00a0"), text
    )
    signed = re.sub(r"(?<![^\s\[(])-(?=\d)", "\u2212", kept)
    return signed.replace("->", "\u2192").replace("\u00b1 ", "\u00b1\u00a0")
