"""`fcnjax prepare`: prepares a data set by its name."""

from collections.abc import Sequence

from absl import flags

from fcnjax.commands.command_line import UsageError, parse
from fcnjax.data import prepare_by_name


def run(argv: Sequence[str]) -> None:
    """Prepare a data set, such as mnist; those of the TFDS catalog need the extra catalog."""

    def define(values: flags.FlagValues) -> None:
        flags.DEFINE_string("data_dir", None, "Folder of prepared data sets (default: TFDS's).", flag_values=values)
        flags.DEFINE_string("manual_dir", None, "Folder of files downloaded by hand.", flag_values=values)

    named = len(argv) > 1 and not argv[1].startswith("-")
    given = parse([argv[0], *argv[2:]] if named else argv, define)
    if not named:
        raise UsageError("say which data set, as in 'fcnjax prepare mnist'.")
    folder, prepared_now = prepare_by_name(argv[1], given.data_dir, given.manual_dir)
    print(f"{argv[1]}: {'prepared' if prepared_now else 'is already prepared'} in {folder}")
