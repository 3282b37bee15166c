"""Programs of a benchmark, compiled side by side in as many threads as there are cores."""

import contextlib
import time
from collections.abc import Callable, Hashable, Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor, as_completed
from typing import Any

import jax

from fcnjax.progress import progress_bar
from fcnjax.training.compile.compilation import core_count
from fcnjax.training.compile.memory_fit import compiled_bytes


class CompiledPrograms:
    """Compiled programs by key. A program that several arms share is compiled once.

    Attributes:
        programs: the compiled programs.
        alone: seconds from the start of the compilation of each to its end.
        seconds: the same, divided by how many ran at once: the share of each in the time that a run waits for all.
        given_up: keys of compilations that did not end in time, which may go on and keep the process from ending.
    """

    def __init__(self):
        self.programs: dict[Hashable, Any] = {}
        self.alone: dict[Hashable, float] = {}
        self.seconds: dict[Hashable, float] = {}
        self.given_up: set[Hashable] = set()

    def compile(
        self, jobs: Mapping[Hashable, Callable[[], Any]], title: str, limit: float | None = None
    ) -> dict[Hashable, Exception]:
        """Compiles those of `jobs` that are new, and returns the errors of those that fail or do not end in time.

        Args:
            jobs: functions that lower and compile, such as `lambda: jitted.lower(*args).compile()`.
            title: what is compiled, for the progress bar on stderr.
            limit: seconds; None: no limit. A compilation cannot be stopped: one that has begun goes on.
        """
        errors: dict[Hashable, Exception] = {
            key: TimeoutError("not compiled in time for an earlier arm.") for key in jobs if key in self.given_up
        }
        new = {key: jobs[key] for key in jobs if key not in self.programs and key not in self.given_up}
        programs, failed, seconds = {}, {}, {}
        if not new:
            return errors

        def compile_one(key: Hashable) -> None:
            begun = time.perf_counter()
            try:
                programs[key] = new[key]()
            except Exception as error:  # one program must not cost the others
                failed[key] = error
            seconds[key] = time.perf_counter() - begun

        begun = time.perf_counter()
        pool = ThreadPoolExecutor(core_count(), thread_name_prefix="compile")
        futures = {pool.submit(compile_one, key): key for key in new}
        with progress_bar(total=len(new), title=f"{title}: compiling", leave=False, unit=" programs") as bar:
            waiting = as_completed(futures, limit)
            with contextlib.suppress(TimeoutError):
                for _ in waiting:
                    bar.update()
        pool.shutdown(wait=False, cancel_futures=True)
        late = {key for future, key in futures.items() if not future.done()}  # what they still add is not read
        self.given_up |= late
        errors |= {key: TimeoutError(f"not compiled within {limit:.0f} s.") for key in late}
        errors |= {key: error for key, error in failed.items() if key not in late}
        self.programs |= {key: program for key, program in programs.items() if key not in late}
        ended = {key: each for key, each in seconds.items() if key not in late}
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
