"""`fcnjax inspect`: the shape table of a network."""

from collections.abc import Sequence

from absl import flags
from rich.console import Console
from rich.table import Table

from fcnjax.commands.command_line import parse, parse_size, read_recipe, required
from fcnjax.models import TraceRow
from fcnjax.naming import joined
from fcnjax.table_style import tight_table
from fcnjax.training import abstract_model, load_sources


def run(argv: Sequence[str]) -> None:
    """Print the shape table of a config's network for inputs of given sizes."""

    def define(values: flags.FlagValues) -> None:
        flags.DEFINE_multi_string("size", None, "Input size, such as 28x28; may be repeated.", flag_values=values)

    given = parse(argv, define, config="")
    recipe = read_recipe(given.config)
    sizes = [parse_size(text) for text in required(given.size, "size", "28x28")]
    model = abstract_model(recipe, load_sources(recipe, verify=False)["train"])
    traces = [model.trace(size) for size in sizes]
    console = Console()
    for trace in traces:
        console.print(_trace_table(trace))
    shown = {"minimum size": model.min_size, "stride": model.stride, "receptive field": model.receptive_field}
    console.print(", ".join(f"{name} {joined(value)}" for name, value in shown.items()))
    console.print(f"head: {model.head.describe()}")


def _trace_table(trace: list[TraceRow]) -> Table:
    columns = ("layer", "output size", "channels", "receptive field", "parameters", "multiply-adds")
    table = tight_table(*columns, title=f"input {joined(trace[0].size)}")
    for row in trace:
        numbers = (f"{n:,}" for n in (row.parameters, row.multiply_adds))
        table.add_row(row.layer, joined(row.size) or "-", str(row.channels), joined(row.receptive_field), *numbers)
    table.add_section()
    totals = (f"{sum(getattr(row, name) for row in trace):,}" for name in ("parameters", "multiply_adds"))
    table.add_row("total", "", "", "", *totals)
    return table
