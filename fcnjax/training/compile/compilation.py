"""One compiled program per shape, compiled ahead in threads: a shape that was not planned is a fact one can see.

The programs of a run are known before it starts. They are compiled in the order of their first use while the first
steps already run; a call waits for its own program alone.
"""

import dataclasses
import math
import threading
import time
import warnings
from collections.abc import Callable, Collection, Hashable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any

import jax
from tqdm import tqdm

from fcnjax.xla import accepted_options, refused

THREADS = 2  # that compile; the compiler itself has threads of its own


class UnplannedCompilation(UserWarning):
    """A shape that no plan named had to be compiled in the midst of a run."""


def jit(
    function: Callable[..., Any], donate: tuple[int, ...] = (), out_shardings: Any = None, *, remat: bool = False
) -> Any:
    """Returns `jax.jit(function)` with the compiler options that suit the default backend.

    Args:
        function: a pure function of pytrees of arrays.
        donate: positions of the arguments whose memory the outputs may take.
        out_shardings: of the outputs, a pytree prefix; None leaves them to the compiler.
        remat: whether the function recomputes activations, see `compile_options`.
    """
    shardings = {} if out_shardings is None else {"out_shardings": out_shardings}
    return jax.jit(function, donate_argnums=donate, compiler_options=compile_options(remat=remat), **shardings)


def compile_options(*, remat: bool = False) -> dict[str, Any]:
    """Returns the compiler options for the default backend, of those that it accepts and `XLA_FLAGS` does not set.

    On CPU the matrix products are precompiled, and with XLA's older emitters the rest gains nothing from LLVM's full
    effort: for the forum thread's network the two programs of a training run compiled in 7.3 instead of 13.2 s, side by
    side, and their steps took the same time (level 0: 4.9 s, but steps 5 times as long); drawing one kernel in 0.2
    instead of 1.5 s. Where XLA has no option for the older emitters (jax 0.11), level 1 costs 2 to 12 % of a step's
    time and saves little: the level stays XLA's own.

    Args:
        remat: whether the program recomputes activations. XLA's CPU compiler drops the barriers that say when, by a
            pass that is left out then: else it merges both computations again (`resnet_cifar` of 20 layers, 32 images
            of 32 x 32: 76 in place of 30 MiB of temporaries, against 77 without).
    """
    if jax.default_backend() != "cpu":
        return {}
    options = accepted_options({"xla_cpu_use_fusion_emitters": False, "xla_backend_optimization_level": "1"})
    if "xla_cpu_use_fusion_emitters" in refused():
        options.pop("xla_backend_optimization_level", None)
    if remat:
        options |= accepted_options({"xla_disable_hlo_passes": "cse_barrier_expander"})
    return options


class CompiledByShape:
    """Compiles a function once for each shape, ahead of its first call or at it, and calls the compiled program.

    Args:
        function: a pure function of pytrees of arrays.
        donate: positions of the arguments whose memory the outputs may take.
        out_shardings: of the outputs, a pytree prefix; None leaves them to the compiler.
        name: what it is called in messages; default: as the function is.
        remat: as for `jit`.

    Attributes:
        name: what it is called in messages.
        programs: the compiled programs, by shape.
        seconds: time that compilation has taken so far, summed over threads.
        waited: seconds that calls have waited for compilation so far.
        planned: the shapes that calls may have, each compiled without a word; None: any.
    """

    def __init__(
        self,
        function: Callable[..., Any],
        donate: tuple[int, ...] = (),
        out_shardings: Any = None,
        name: str = "",
        *,
        remat: bool = False,
    ):
        self.name = name or getattr(function, "__name__", "function")
        self._jitted = jit(function, donate, out_shardings, remat=remat)
        self._futures: dict[Hashable, Future] = {}
        self._lock = threading.Lock()
        self.programs: dict[Hashable, Callable[..., Any]] = {}
        self.seconds = self.waited = 0.0
        self.planned: set[Hashable] | None = None

    def __call__(self, shape: Hashable, *args: Any) -> Any:
        """Calls the program for `shape`, which must determine the shapes of all `args`.

        Warns:
          UnplannedCompilation: if the shape is none of `planned`, and has no program yet.
        """
        program = self.programs.get(shape)
        if program is None:
            if self.planned is not None and shape not in self.planned:
                text = f"{self.name}: met the rectangle {shape}, which the plan does not have: compiling it now."
                warnings.warn(text, UnplannedCompilation, stacklevel=2)
            begun = time.perf_counter()
            program = self.compile(shape, *args)
            self.waited += time.perf_counter() - begun
        return program(*args)

    def compile_apart(self, *args: Any) -> Any:
        """Returns the program for `args` (arrays, or their shapes and shardings), and keeps none."""
        return self._jitted.lower(*args).compile()

    def compile(self, shape: Hashable, *args: Any) -> Any:
        """Returns the program for `shape`, compiled for `args` (arrays, or their shapes and shardings) where it is new.

        Threads may call this at the same time; each shape is compiled by one of them, and the others wait for it.
        """
        with self._lock:
            future = self._futures.get(shape)
            mine = future is None or (future.done() and future.exception() is not None)  # a failure may be tried again
            if mine:
                future = self._futures[shape] = Future()
        assert future is not None
        if mine:
            start = time.perf_counter()
            try:
                program = self.compile_apart(*args)
            except BaseException as error:
                future.set_exception(error)
                raise
            with self._lock:
                self.programs[shape] = program
                self.seconds += time.perf_counter() - start
            future.set_result(program)
        return future.result()


@dataclasses.dataclass(frozen=True, eq=False)
class Compilation:
    """One program to compile ahead.

    Attributes:
        programs: where it belongs.
        shape: its rectangle.
        args: what it is compiled for: shapes and shardings.
        rows: of its batch, filler rows included; 0 if it takes none.
        args_of: from another number of rows to what it would be compiled for.
    """

    programs: CompiledByShape
    shape: tuple[int, ...]
    args: tuple[Any, ...]
    rows: int = 0
    args_of: Callable[[int], tuple[Any, ...]] = lambda rows: ()

    @property
    def positions(self) -> int:
        """Padded positions of its batch, by which programs are compared in memory."""
        return self.rows * math.prod(self.shape)


@contextmanager
def compiling_ahead(
    jobs: Iterable[Compilation],
    *,
    first: Collection[Compilation] | None = None,
    progress: bool = True,
    threads: int = THREADS,
    done: Callable[[list[Compilation], float], None] = lambda jobs, seconds: None,
) -> Iterator[Callable[[], None]]:
    """Compiles what is new of `jobs` in the background, in their order, while the block runs.

    What nobody has begun to compile when the block ends stays uncompiled. Before a program is compiled it is traced, by
    Python, which threads only slow down: so those that the first step waits for come first and alone.

    Args:
        jobs: programs in the order of their first use.
        first: those to begin with; None: all.
        progress: whether to show a bar with rate and time left.
        threads: at least 1.
        done: called in a thread, with the jobs that were new and the seconds since the start, when all are compiled.

    Yields:
        A function that lets the others begin; to be called once the first step is on its way, and as often as one
            likes.
    """
    new = [job for job in jobs if job.shape not in job.programs.programs]
    pool, begun, left = ThreadPoolExecutor(threads, thread_name_prefix="compile"), time.perf_counter(), set(new)
    bar = tqdm(total=len(new), desc="compiling", unit=" programs", disable=not (progress and new), leave=False)

    lock = threading.Lock()

    def compile_one(job: Compilation):
        job.programs.compile(job.shape, *job.args)  # who calls a program that failed is told why
        with lock:
            left.discard(job)
            last = not left
        bar.update()
        if last:
            bar.close()
            done(new, time.perf_counter() - begun)

    waiting = list(new)

    def begin(some: Collection[Compilation]):
        for job in [job for job in waiting if job in some]:
            waiting.remove(job)
            pool.submit(compile_one, job)

    try:
        begin(new if first is None else first)
        yield lambda: begin(new)
    finally:
        pool.shutdown(wait=False, cancel_futures=True)
        bar.close()
