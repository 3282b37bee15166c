"""The cache of compiled programs on disk: a later run reads the programs that an earlier run compiled.

It is JAX's own persistent cache. This file chooses its folder, bounds its size (the least recently used programs are
removed first) and lists its contents.
"""

import os
import sys
from pathlib import Path
from typing import Any, NamedTuple

import jax
from platformdirs import user_cache_path

from fcnjax.atomic import check_writable

FOLDER = "FCNJAX_CACHE_DIR"  # environment variable that names the folder of the cache; empty: no cache
LARGEST = 4 * 2**30  # maximum bytes of all programs together
_PROGRAM, _LAST_USE = "*-cache", "*-atime"  # patterns of the two files that JAX writes for a program


class CacheContents(NamedTuple):
    """The contents of the cache.

    Attributes:
        folder: its folder; None if the cache is off.
        programs: number of programs.
        size: bytes of all programs together.
        largest: maximum of `size`.
    """

    folder: Path | None
    programs: int
    size: int
    largest: int


def cache_folder() -> Path | None:
    """Returns the folder of the cache: JAX's own setting, else `FCNJAX_CACHE_DIR`, else a folder in the user's cache.

    Returns None if the cache is off: `FCNJAX_CACHE_DIR` is empty, or JAX's own switch `JAX_ENABLE_COMPILATION_CACHE` is
    false.
    """
    given = os.environ.get(FOLDER)
    if given == "" or not _setting("jax_enable_compilation_cache"):
        return None
    set_before = _setting("jax_compilation_cache_dir")
    if set_before is not None:
        return Path(set_before)
    return Path(given) if given else user_cache_path("fcnjax") / "programs"


def use_program_cache() -> Path | None:
    """Turns the cache on for this process. Commands call it, since it is a setting of the whole process.

    Settings made through JAX's own variables (`JAX_COMPILATION_CACHE_DIR`, `..._MAX_SIZE`) stay as they are. If the
    folder cannot be written, one line on stderr says so and the cache stays off.

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
        print(
            f"{folder}: compiled programs cannot be kept there ({error}); set {FOLDER} to another folder.",
            file=sys.stderr,
        )
        return None
    jax.config.update("jax_compilation_cache_dir", str(folder))
    if _setting("jax_compilation_cache_max_size") == -1:
        jax.config.update("jax_compilation_cache_max_size", LARGEST)
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.0)  # a run starts with many small programs
    return folder


def cache_contents() -> CacheContents:
    """Returns the present contents of the cache."""
    folder = cache_folder()
    files = list(folder.glob(_PROGRAM)) if folder is not None else []
    bound = _setting("jax_compilation_cache_max_size")
    return CacheContents(folder, len(files), sum(map(_size, files)), LARGEST if bound == -1 else bound)


def clear_cache() -> CacheContents:
    """Removes all programs and returns the contents before. Active runs recompile the programs that they still need."""
    contents = cache_contents()
    if contents.folder is not None:
        for pattern in (_PROGRAM, _LAST_USE):  # other files in the folder are not ours
            for file in contents.folder.glob(pattern):
                file.unlink(missing_ok=True)
    return contents


def _setting(name: str) -> Any:
    return getattr(jax.config, name)  # JAX declares its settings at run time


def _size(file: Path) -> int:
    try:
        return file.stat().st_size
    except FileNotFoundError:  # another run has removed it to make room
        return 0
