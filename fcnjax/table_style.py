"""How tables look on the terminal."""

from rich import box
from rich.table import Table


def tight_table(*columns: str, title: str | None = None, left: int = 1) -> Table:
    """Returns an empty table with little space between columns.

    rich assumes a width of 80 columns for a pipe, in which its own style would cut numbers short.

    Args:
        *columns: headings.
        title: text above the table; None for none.
        left: number of columns that are aligned to the left; the others are aligned to the right.
    """
    table = Table(title=title, title_justify="left", box=box.HORIZONTALS, show_edge=False, padding=(0, 1, 0, 0))
    for index, heading in enumerate(columns):
        table.add_column(heading, justify="left" if index < left else "right")
    return table
