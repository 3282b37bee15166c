"""Programs of a benchmark, compiled side by side in as many threads as there are cores."""

import contextlib
import time
from collections.abc import Callable, Hashable, Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor, as_completed
from typing import Any

import jax
from tqdm import tqdm

from fcnjax.training.compile.compilation import core_count
from fcnjax.training.compile.memory_fit import compiled_bytes


class CompiledPrograms:
    """Compiled programs by key. A program that several arms share is compiled once.

    Attributes:
        programs: the compiled programs.
        alone: seconds from the start of the compilation of each to its end.
        unfinished: whether a compilation was given up, which may go on and keep the process from ending.
        seconds: the same, divided by how many ran at once: the share of each in the time that a run waits for all.
    """

    def __init__(self):
        self.programs: dict[Hashable, Any] = {}
        self.alone: dict[Hashable, float] = {}
        self.seconds: dict[Hashable, float] = {}
        self.unfinished = False

    def compile(
        self, jobs: Mapping[Hashable, Callable[[], Any]], title: str, limit: float | None = None
    ) -> dict[Hashable, Exception]:
        """Compiles those of `jobs` that are new, and returns the errors of those that fail or do not end in time.

        Args:
            jobs: functions that lower and compile, such as `lambda: jitted.lower(*args).compile()`.
            title: what is compiled, for the progress bar on stderr.
            limit: seconds; None: no limit. A compilation cannot be stopped: one that has begun goes on.
        """
        new, errors, seconds = {key: jobs[key] for key in jobs if key not in self.programs}, {}, {}
        if not new:
            return errors

        def compile_one(key: Hashable) -> None:
            begun = time.perf_counter()
            try:
                self.programs[key] = new[key]()
            except Exception as error:  # one program must not cost the others
                errors[key] = error
            seconds[key] = time.perf_counter() - begun

        begun = time.perf_counter()
        pool = ThreadPoolExecutor(core_count(), thread_name_prefix="compile")
        futures = {pool.submit(compile_one, key): key for key in new}
        with tqdm(total=len(new), desc=f"{title}: compiling", leave=False, unit=" programs") as bar:
            waiting = as_completed(futures, limit)
            with contextlib.suppress(TimeoutError):
                for _ in waiting:
                    bar.update()
        pool.shutdown(wait=False, cancel_futures=True)
        for late in [future for future in futures if not future.done()]:
            errors[futures[late]] = TimeoutError(f"not compiled within {limit:.0f} s.")
            self.unfinished = True
        ended = dict(seconds)  # a late one may still add its own
        share = (time.perf_counter() - begun) / max(sum(ended.values()), 1e-9)
        self.alone |= ended
        self.seconds |= {key: each * share for key, each in ended.items()}
        return errors

    def bytes(self, keys: Iterable[Hashable]) -> int | None:
        """Returns the memory of the largest of the programs in bytes (see `compiled_bytes`); None if it is unknown."""
        try:
            return max(compiled_bytes(self.programs[key]) for key in keys)
        except (
            ValueError,
            AttributeError,
            NotImplementedError,
            jax.errors.JaxRuntimeError,
        ):  # a backend that does not analyze memory
            return None
