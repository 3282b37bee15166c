"""Reports of experiments: tables, figures, one page per experiment, the index of all, and the README's results."""

from fcnjax.lab.report.class_maps import ClassMapRow, class_map_panel
from fcnjax.lab.report.figures import accuracy_figure, arm_styles, loss_figure, size_figure
from fcnjax.lab.report.forest import contrast_figure
from fcnjax.lab.report.index import (
    Entry,
    entry_of,
    read_entries,
    readme_section,
    update_readme,
    write_index_html,
    write_index_markdown,
)
from fcnjax.lab.report.report import Picture, Report, Section, build_report, chart, picture
from fcnjax.lab.report.summaries import Summary, summarize
from fcnjax.lab.report.tables import Table
from fcnjax.lab.report.words import Verdict, effect_words
from fcnjax.lab.report.writers import print_tables, write_csv, write_html, write_markdown

__all__ = [
    "ClassMapRow",
    "Entry",
    "Picture",
    "Report",
    "Section",
    "Summary",
    "Table",
    "Verdict",
    "accuracy_figure",
    "arm_styles",
    "build_report",
    "chart",
    "class_map_panel",
    "contrast_figure",
    "effect_words",
    "entry_of",
    "loss_figure",
    "picture",
    "print_tables",
    "read_entries",
    "readme_section",
    "size_figure",
    "summarize",
    "update_readme",
    "write_csv",
    "write_html",
    "write_index_html",
    "write_index_markdown",
    "write_markdown",
]
