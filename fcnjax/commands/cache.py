"""`fcnjax cache`: the cache of compiled programs."""

from collections.abc import Sequence

from absl import flags

from fcnjax.commands.command_line import parse
from fcnjax.training.compile.program_cache import cache_contents, clear_cache


def run(argv: Sequence[str]) -> None:
    """Show the cache of compiled programs; --clear empties it."""

    def define(values: flags.FlagValues) -> None:
        flags.DEFINE_bool("clear", False, "Remove all programs.", flag_values=values)

    given = parse(argv, define)
    contents = clear_cache() if given.clear else cache_contents()
    if contents.folder is None:
        print("no cache: FCNJAX_CACHE_DIR is empty, or JAX_ENABLE_COMPILATION_CACHE is false")
        return
    counted = f"{contents.programs:,} programs, {contents.size / 2**20:,.1f} MiB"
    print(
        f"{contents.folder}: {'removed ' if given.clear else ''}{counted} (at most {contents.largest / 2**30:,.0f} GiB)"
    )
