"""`fcnjax plan`: buckets for a table of sizes, and their cost."""

import dataclasses
import math
from collections.abc import Sequence
from typing import Any

from absl import flags
from rich.console import Console

from fcnjax.commands.command_line import UsageError, parse, read_recipe
from fcnjax.data import Source, bucket_table, comparison_table, plan_buckets, plan_report, read_sizes
from fcnjax.naming import joined
from fcnjax.training import Recipe, Trainer, load_sources, make_buckets

PLANNED = {"max_buckets", "multiple_of", "pixel_budget", "batch_size"}  # fields of a recipe


def run(argv: Sequence[str]) -> None:
    """Plan the buckets of a config, or of --sizes=FILE.csv, and print their cost."""
    named = {argument.lstrip("-").partition("=")[0].partition(".")[0] for argument in argv[1:]}
    if "help" not in named and len(named & {"config", "sizes"}) != 1:
        raise UsageError("give either --config=configs/digits.py or --sizes=FILE.csv: the sizes to plan for.")
    given = parse(argv, _define_flags, config=None if "sizes" in named else "")
    if given.fit_memory is not None and "sizes" in named:
        raise UsageError("--fit_memory: needs --config, which names the network.")
    budget: dict[str, Any] = {"pixel_budget": given.pixel_budget, "rows_multiple_of": given.rows_multiple_of}
    batch_size, recipe, sources = given.batch_size, None, {}
    if "sizes" in named:
        sizes, count = read_sizes(given.sizes), 8 if given.max_buckets is None else given.max_buckets
        plan = plan_buckets(sizes, count, multiple_of=given.multiple_of, **budget)
    else:
        recipe = read_recipe(given.config)
        recipe = dataclasses.replace(recipe, **{name: given[name].value for name in named & PLANNED})
        sources = load_sources(recipe, verify=False)
        sizes, plan = sources["train"].sizes, make_buckets(recipe, sources)
        budget["pixel_budget"] = recipe.pixel_budget
        batch_size = None if recipe.pixel_budget else recipe.batch_size
    report = plan_report(sizes, plan, batch_size=batch_size, **budget)
    if given.plot is not None:
        from fcnjax.data.planning.plan_figure import plan_figure  # here: it imports matplotlib
        from fcnjax.figure_style import save_figure

        save_figure(plan_figure(sizes, plan), given.plot)
    console = Console()
    console.print(f"{report.examples:,} examples; waste: padded over real positions, minus 1")
    for table in (bucket_table(report), comparison_table(report)):
        console.print()
        console.print(table)
    if given.plot is not None:
        console.print(f"\nplot {given.plot}", soft_wrap=True)
    if given.fit_memory is not None and recipe is not None:
        console.print(f"\n{_fitting_budget(recipe, sources, given.fit_memory)}", soft_wrap=True)


def _fitting_budget(recipe: Recipe, sources: dict[str, Source], share: float) -> str:
    shape, rows = Trainer(recipe, sources).rows_that_fit(share)
    budget = f"--config.pixel_budget={rows * math.prod(shape)}"
    return f"{rows:,} rows of {joined(shape)} fit {share:.0%} of the device's memory: {budget}"


def _define_flags(values: flags.FlagValues) -> None:
    texts = {
        "sizes": "CSV file with columns height and width, or length, or depth, height and width.",
        "plot": "Also draw the sizes and the buckets to this file, such as plan.png.",
    }
    for name, text in texts.items():
        flags.DEFINE_string(name, None, text, flag_values=values)
    numbers = {
        "max_buckets": (None, "Maximum number of buckets (default: the config's; 8 with --sizes)."),
        "multiple_of": (1, "Round extents up to a multiple of this (default: the config's; 1 with --sizes)."),
        "pixel_budget": (None, "Maximum number of positions in a batch: chooses batch sizes (default: the config's)."),
        "rows_multiple_of": (1, "With --pixel_budget: make batch sizes multiples of this."),
        "batch_size": (None, "Rows of every batch; default: the config's."),
    }
    for name, (default, text) in numbers.items():
        flags.DEFINE_integer(name, default, text, lower_bound=1, flag_values=values)
    share = "Also find the pixel budget at which a train step takes this share of the device's memory, such as 0.9."
    flags.DEFINE_float("fit_memory", None, share, lower_bound=0, upper_bound=1, flag_values=values)
