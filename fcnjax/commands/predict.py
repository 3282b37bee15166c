"""`fcnjax predict`: classes of files, in a table."""

import sys
from collections.abc import Sequence
from pathlib import Path

from absl import flags

from fcnjax.commands.command_line import UsageError, parse_with_arguments, required
from fcnjax.inference import load
from fcnjax.inference.file_lists import expanded
from fcnjax.inference.prediction_table import check_table, write_table
from fcnjax.inference.predictor import MAX_AREA

LISTED = 20  # unreadable files that are named


def run(argv: Sequence[str]) -> None:
    """Predict the classes of files and folders with a trained network, and write a table."""

    def define(values: flags.FlagValues) -> None:
        flags.DEFINE_string("model", None, "Run folder, or model folder.", flag_values=values)
        flags.DEFINE_string("to", None, "New table: .csv, .jsonl or .parquet.", flag_values=values)
        flags.DEFINE_integer(
            "top", 5, "Number of classes of each file, the most probable first.", 1, flag_values=values
        )
        flags.DEFINE_integer("max_buckets", 8, "Rectangles, so programs to compile.", 1, flag_values=values)
        flags.DEFINE_integer("batch_size", 32, "Files of a batch.", 1, flag_values=values)
        largest = "Positions of the largest example; larger ones are listed, as they take much memory."
        flags.DEFINE_integer("max_area", MAX_AREA, largest, 1, flag_values=values)
        flags.DEFINE_bool("overwrite", False, "Whether --to may name an existing table.", flag_values=values)

    given, arguments = parse_with_arguments(argv, define)
    model, to = required(given.model, "model", "runs/photos"), Path(required(given.to, "to", "predictions.csv"))
    if not arguments:
        raise UsageError("files are missing: name files, folders or patterns, or '-' for a list on standard input.")
    check_table(to, overwrite=given.overwrite)
    limits = {"max_buckets": given.max_buckets, "batch_size": given.batch_size, "max_area": given.max_area}
    predictor = load(model, **limits)
    files = expanded(arguments, sys.stdin)
    found, unreadable = predictor.predict(files, progress=sys.stderr.isatty())
    write_table(to, files, found, unreadable, top=given.top)
    for name, reason in list(unreadable.items())[:LISTED]:
        print(f"{name}: {reason}", file=sys.stderr)
    if len(unreadable) > LISTED:
        print(f"and {len(unreadable) - LISTED} more; the column 'error' of {to} has all", file=sys.stderr)
    count = sum(each is not None for each in found)
    print(f"{count:,} of {len(files):,} files predicted, {predictor.programs} programs compiled\ntable {to}")
    if not count:
        raise ValueError(f"none of the {len(files):,} files could be read; the column 'error' of {to} says why.")
