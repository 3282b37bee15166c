"""Writers of a `Report`: CSV, Markdown with figure files, one self-contained HTML file, and tables on the terminal.

Every file is written whole or not at all. The HTML file escapes all text, holds its figures and loads nothing.
"""

import base64
import csv
import io
import re
from pathlib import Path

import jinja2
from rich.console import Console
from rich.markup import escape

from fcnjax.atomic import write_bytes, write_text
from fcnjax.lab.report import Report, Section
from fcnjax.lab.results import Results
from fcnjax.lab.tables import Table, run_rows
from fcnjax.naming import spreadsheet_text
from fcnjax.table_style import tight_table


def write_csv(results: Results, path: Path | str) -> Path:
    """Writes one row per arm and seed, with full precision, and returns the path.

    Columns: arm, title, seed, accuracy, correct, count, baseline, paired_difference, steps, final_training_loss (of the
    last step), head_multiply_adds, median_step_ms. An apostrophe precedes a text that a spreadsheet would run.

    Raises:
        OSError: if the file cannot be written.
    """
    rows = run_rows(results)
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
    for section in report.sections:
        for drawn in section.pictures:
            write_bytes(path.parent / "figures" / f"{drawn.name}.png", drawn.png)
    parts = [f"# {_plain(report.title)}"]
    for section in report.sections:
        parts += _markdown_section(section)
    return write_text(path, "\n\n".join(parts) + "\n")


def write_html(report: Report, path: Path | str) -> Path:
    """Writes the report as one HTML file, with its pictures inside, and returns the path.

    Raises:
        OSError: if the file cannot be written.
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
        console: where to print it; standard output by default.
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
            drawn = tight_table(*map(escape, table.columns), title=escape(table.caption) or None, left=table.left)
            for row in table.rows:
                drawn.add_row(*map(escape, row))
            console.print(drawn)


def _markdown_section(section: Section) -> list[str]:
    parts = [f"## {_plain(section.title)}", *map(_plain, section.paragraphs)]
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
    head, *rows = ([_plain(cell) for cell in cells] for cells in (table.columns, *table.rows))
    rule = ["---" if i < table.left else "---:" for i in range(len(table.columns))]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in (head, rule, *rows))


def _plain(text: str) -> str:
    """Returns the text on one line, with everything escaped that Markdown or HTML in Markdown would interpret."""
    line = re.sub(r"([\\`*|<~])", r"\\\1", " ".join(text.split()))
    return re.sub(r"\](?=[(\[])", r"\]", line)  # brackets alone do not make a link


def _typeset(text: str) -> str:
    """Returns the text with intervals and counts that stay on one line, and arrows as one character."""
    kept = re.sub(r"\[[^\[\]]*\]|\([^()]*\d[^()]*\)", lambda found: found[0].replace(" ", "\u00a0"), text)
    return kept.replace("->", "\u2192")
