"""Programs of a benchmark, compiled side by side in as many threads as there are cores."""

import time
from collections.abc import Callable, Hashable, Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import jax
from tqdm import tqdm

from fcnjax.bench.timing import threads
from fcnjax.training.compile.memory_fit import compiled_bytes


class CompiledPrograms:
    """Compiled programs by key. A program that several arms share is compiled once.

    Attributes:
        programs: the compiled programs.
        alone: seconds from the start of the compilation of each to its end.
        seconds: the same, divided by how many ran at once: the share of each in the time that a run waits for all.
    """

    def __init__(self):
        self.programs: dict[Hashable, Any] = {}
        self.alone: dict[Hashable, float] = {}
        self.seconds: dict[Hashable, float] = {}

    def compile(self, jobs: Mapping[Hashable, Callable[[], Any]], title: str) -> dict[Hashable, Exception]:
        """Compiles those of `jobs` that are new, and returns the errors of those that fail.

        Args:
            jobs: functions that lower and compile, such as `lambda: jitted.lower(*args).compile()`.
            title: what is compiled, for the progress bar on stderr.
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
        with ThreadPoolExecutor(threads(), thread_name_prefix="compile") as pool:
            bar = tqdm(pool.map(compile_one, new), f"{title}: compiling", len(new), leave=False, unit=" programs")
            for _ in bar:
                pass
        share = (time.perf_counter() - begun) / sum(seconds.values())
        self.alone |= seconds
        self.seconds |= {key: each * share for key, each in seconds.items()}
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
