"""The cache of compiled programs, on disk: what was compiled once for a shape is read back by later runs.

JAX's own persistent cache, with a folder, a bound on its size (the programs used least recently go first) and a look
into it.
"""

import os
import sys
from pathlib import Path
from typing import Any, NamedTuple

import jax
from platformdirs import user_cache_path

from fcnjax.atomic import check_writable

FOLDER = "FCNJAX_CACHE_DIR"  # environment variable: where the cache is; empty for none
LARGEST = 4 * 2**30  # bytes of all programs together
_PROGRAM, _LAST_USE = "*-cache", "*-atime"  # what JAX calls the files of one


class CacheContents(NamedTuple):
    """What is in the cache.

    Attributes:
        folder: where it is; None if it is off.
        programs: how many.
        size: bytes of all of them.
        largest: bytes that they may take.
    """

    folder: Path | None
    programs: int
    size: int
    largest: int


def cache_folder() -> Path | None:
    """Returns the folder of the cache: what JAX is set to, else `FCNJAX_CACHE_DIR`, else in the user's cache folder.

    None if it is off: `FCNJAX_CACHE_DIR` is empty, or JAX's own switch `JAX_ENABLE_COMPILATION_CACHE` is false.
    """
    given = os.environ.get(FOLDER)
    if given == "" or not _setting("jax_enable_compilation_cache"):
        return None
    set_before = _setting("jax_compilation_cache_dir")
    if set_before is not None:
        return Path(set_before)
    return Path(given) if given else user_cache_path("fcnjax") / "programs"


def use_program_cache() -> Path | None:
    """Lets this process keep its compiled programs for later ones; a setting of the whole process, for commands.

    What is set through JAX's own variables (`JAX_COMPILATION_CACHE_DIR`, `..._MAX_SIZE`) stays as it is. A folder that
    cannot be written is said once, and no cache used.

    Returns:
        The folder, or None if the cache is off.
    """
    folder = cache_folder()
    if folder is None or _setting("jax_compilation_cache_dir") is not None:
        return folder
    try:
        folder.mkdir(parents=True, exist_ok=True)
        check_writable(folder)
    except OSError as error:
        print(f"{folder}: no compiled programs are kept there ({error}); set {FOLDER}.", file=sys.stderr)
        return None
    jax.config.update("jax_compilation_cache_dir", str(folder))
    if _setting("jax_compilation_cache_max_size") == -1:
        jax.config.update("jax_compilation_cache_max_size", LARGEST)
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.0)  # the small ones are many at a start
    return folder


def cache_contents() -> CacheContents:
    """Returns what is in the cache now."""
    folder = cache_folder()
    files = list(folder.glob(_PROGRAM)) if folder is not None else []
    bound = _setting("jax_compilation_cache_max_size")
    return CacheContents(folder, len(files), sum(map(_size, files)), LARGEST if bound == -1 else bound)


def clear_cache() -> CacheContents:
    """Removes all programs, and returns what there was. Runs that are going on compile anew what they still need."""
    contents = cache_contents()
    if contents.folder is not None:
        for pattern in (_PROGRAM, _LAST_USE):  # what else lies there is not ours
            for file in contents.folder.glob(pattern):
                file.unlink(missing_ok=True)
    return contents


def _setting(name: str) -> Any:
    return getattr(jax.config, name)  # JAX declares them at run time


def _size(file: Path) -> int:
    try:
        return file.stat().st_size
    except FileNotFoundError:  # removed in the meantime by a run that needed room
        return 0
