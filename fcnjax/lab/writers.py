"""Writers of a `Report`: CSV, Markdown with figure files, one self-contained HTML file, tables on the terminal.

Every file is written whole or not at all. HTML escapes all text, loads nothing from elsewhere and holds its figures.
"""

import base64
import csv
import io
import re
from pathlib import Path

import jinja2
from rich.console import Console
from rich.markup import escape
from rich.table import Table as TerminalTable

from fcnjax.atomic import write_bytes, write_text
from fcnjax.lab.report import Report, Section
from fcnjax.lab.results import Results
from fcnjax.lab.tables import Table, run_rows


def write_csv(results: Results, path: Path | str) -> Path:
    """Writes one row per arm and seed, with full precision, and returns the path.

    Columns: arm, title, seed, accuracy, correct, count, baseline, paired_difference, steps, final_training_loss (of the
    last step), head_multiply_adds, median_step_ms.

    Raises:
        OSError: the folder cannot be written.
    """
    rows = run_rows(results)
    buffer = io.StringIO(newline="")
    writer = csv.DictWriter(buffer, list(rows[0]), lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return write_text(path, buffer.getvalue())


def write_markdown(report: Report, path: Path | str) -> Path:
    """Writes the report as GitHub Markdown, its pictures as ``figures/*.png`` beside it, and returns the path.

    Raises:
        OSError: the folder cannot be written.
    """
    path = Path(path)
    for section in report.sections:
        for drawn in section.pictures:
            write_bytes(path.parent / "figures" / f"{drawn.name}.png", drawn.png)
    parts = [f"# {_plain(report.title)}"]
    for section in report.sections:
        parts += _markdown_section(section)
    return write_text(path, "\n\n".join(parts) + "\n")


def write_html(report: Report, path: Path | str) -> Path:
    """Writes the report as one HTML file that needs nothing else, and returns the path.

    Raises:
        OSError: the folder cannot be written.
    """
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("fcnjax.lab", "."),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["typeset"] = _typeset
    environment.filters["base64"] = lambda content: base64.b64encode(content).decode("ascii")
    return write_text(path, environment.get_template("report.html.jinja").render(report=report))


def print_tables(report: Report, console: Console | None = None) -> None:
    """Prints the claims and tables of the report on the terminal.

    Args:
        report: what to print.
        console: where to; standard output by default.
    """
    console = console or Console()
    console.print(f"[bold]{escape(report.title)}[/bold]")
    for section in report.sections:
        if section.claims or section.tables:
            console.print(f"\n[bold]{escape(section.title)}[/bold]")
        for claim in section.claims:
            color = {True: "green", False: "red", None: "yellow"}[claim.holds]
            console.print(f"[{color}]{claim.verdict:>13}[/{color}]  {escape(claim.statement)}")
            console.print(f"{'':15}[dim]{escape(claim.evidence)}[/dim]")
        for table in section.tables:
            console.print(_terminal_table(table))


def _terminal_table(table: Table) -> TerminalTable:
    drawn = TerminalTable(caption=escape(table.caption) or None, caption_justify="left")
    for heading, numeric in zip(table.columns, table.numeric, strict=True):
        drawn.add_column(escape(heading), justify="right" if numeric else "left")
    for row in table.rows:
        drawn.add_row(*(escape(cell) for cell in row))
    return drawn


def _markdown_section(section: Section) -> list[str]:
    parts = [f"## {_plain(section.title)}", *(_plain(words) for words in section.paragraphs)]
    if section.claims:
        parts.append(
            "\n".join(f"- **{c.verdict}**: {_plain(c.statement)}. {_plain(c.evidence)}" for c in section.claims)
        )
    for table in section.tables:
        parts.append(_markdown_table(table))
        if table.caption:
            parts.append(_plain(table.caption))
    for drawn in section.pictures:
        caption = _plain(drawn.caption)
        parts += [f"![{caption}](figures/{drawn.name}.png)", caption]
    return parts


def _markdown_table(table: Table) -> str:
    lines = [table.columns, tuple("---:" if numeric else "---" for numeric in table.numeric)]
    body = [" | ".join(lines[1])]
    head = " | ".join(_plain(cell) for cell in lines[0])
    rows = [" | ".join(_plain(cell) for cell in row) for row in table.rows]
    return "\n".join(f"| {line} |" for line in [head, *body, *rows])


def _plain(text: str) -> str:
    """Escapes what Markdown or HTML inside it would take as a command, and keeps the text on one line."""
    line = re.sub(r"([\\`*|<~])", r"\\\1", " ".join(text.split()))
    return re.sub(r"\](?=[(\[])", r"\]", line)  # brackets alone are no link


def _typeset(text: str) -> str:
    """Keeps what stands in brackets on one line, and draws arrows that a browser cannot break in two."""
    kept = re.sub(r"\[[^\[\]]*\]|\([^()]*\d[^()]*\)", lambda found: found[0].replace(" ", "\u00a0"), text)
    return kept.replace("->", "\u2192")
