"""One compiled program per shape, compiled ahead in threads. A shape that no plan names is compiled with a warning.

The programs of a run are known before it starts. They are compiled in the order of their first use while the first
steps already run. A call waits only for its own program.
"""

import dataclasses
import functools
import math
import os
import platform
import threading
import time
import warnings
from collections.abc import Callable, Collection, Hashable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import jax

from fcnjax.precision import PRECISIONS
from fcnjax.progress import progress_bar
from fcnjax.training.settings.recipe import Recipe
from fcnjax.xla import accepted_options, compiling_for, refused

# Tracing is Python, which runs in one thread at a time: several traces at once only delay the first one.
_TRACING = threading.Lock()
CPU_INFO, VECTORS = Path("/proc/cpuinfo"), ("avx512f", "avx2", "avx")


def core_count() -> int:
    """Returns the number of CPU cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def processor() -> str:
    """Returns the CPU in words: its model, its widest vector instructions, and the cores that this process may use.

    XLA compiles for these, so with others the last bits of a run may differ.
    """
    about: dict[str, str] = {}
    if CPU_INFO.exists():
        lines = (line.partition(":") for line in CPU_INFO.read_text().splitlines())
        about = {name.strip(): value.strip() for name, _, value in reversed(list(lines))}  # of the first core
    vectors = next((name for name in VECTORS if name in about.get("flags", "").split()), None)
    model = about.get("model name") or platform.processor() or platform.machine()
    return ", ".join(filter(None, [model, vectors, f"{core_count()} cores"]))


class UnplannedCompilation(UserWarning):
    """Warns of a shape that no plan names and that was compiled during a run."""


@dataclasses.dataclass(frozen=True)
class CompileSettings:
    """What a recipe decides about its compiled programs.

    Attributes:
        remat: whether the function recomputes activations, see `compile_options`.
        precision: how products of float32 arrays are computed on an accelerator, a key of
            `fcnjax.precision.PRECISIONS`.
        deterministic: whether a program gives the same bits in every run, also if it is compiled anew, on one kind of
            device, see `compile_options`.
    """

    remat: bool = False
    precision: str = "float32"
    deterministic: bool = False

    @classmethod
    def of(cls, recipe: Recipe) -> "CompileSettings":
        """Returns the settings of a recipe."""
        return cls(recipe.remat, recipe.precision, recipe.deterministic)


def jit(
    function: Callable[..., Any],
    donate: tuple[int, ...] = (),
    out_shardings: Any = None,
    settings: CompileSettings = CompileSettings(),
) -> Any:
    """Returns `jax.jit(function)` with the compiler options that suit the default backend.

    Args:
        function: a pure function of pytrees of arrays.
        donate: positions of the arguments that give their memory to the outputs.
        out_shardings: shardings of the outputs, a pytree prefix; None leaves them to the compiler.
        settings: precision of products, and choices of the compiler.
    """
    shardings = {} if out_shardings is None else {"out_shardings": out_shardings}

    @functools.wraps(function)
    def with_precision(*args: Any) -> Any:
        with jax.default_matmul_precision(PRECISIONS[settings.precision]), compiling_for(jax.default_backend()):
            return function(*args)

    return jax.jit(with_precision, donate_argnums=donate, compiler_options=compile_options(settings), **shardings)


def compile_options(settings: CompileSettings = CompileSettings()) -> dict[str, Any]:
    """Returns the compiler options for the default backend that it accepts and that `XLA_FLAGS` does not set.

    On a CPU the matrix products are precompiled, and with XLA's older emitters LLVM's full effort does not speed up the
    rest. For the forum thread's network the two programs of a training run compiled in 7.3 s instead of 13.2 s, side by
    side, and their steps took the same time (at level 0: 4.9 s, but steps 5 times as long); the program that draws one
    kernel compiled in 0.2 s instead of 1.5 s. If XLA does not have an option for the older emitters (jax 0.11), level 1
    costs 2 to 12 % of a step's time and saves little, so the level stays at XLA's default.

    Of the operations that XLA leaves to the YNNPACK library by default, products and sums stay there, and convolutions
    go to Eigen: 3x3 taps on 8 x 32 x 32 x 64 and as many outputs take 1.6, 1.6 and 2.2 ms (output, gradients of values
    and kernel) instead of 2.7, 2.7 and 4.7. Without the library, sums over positions take 6 times as long.

    On a GPU, some kernels add in another order each time, and the compiler times several kernels for each product and
    takes the fastest, which may be another one in the next process. With `deterministic`, it uses neither. Products at
    full precision are left to cuBLAS: of the kernels that XLA would write for them with Triton, one alone compiles for
    16 s (2 in TF32; 128 x 2048 by 2048 x 1000, compiled for an H200 on 2 cores), and it tries them all. The option
    reaches the products of a bfloat16 network too, whose head multiplies float32 sums. Of the kernels that cuBLAS has
    for a product, the 16 that it expects to be fastest are timed, not 128, and none for elementwise functions and sums,
    which XLA would compile twice, each in two ways: a step of ResNet-50 (128 x 224 x 224, bfloat16) compiles in 10 s on
    an H200; without these two options it had not ended after 60.

    Args:
        settings: with `remat`, a pass of XLA's CPU compiler would drop the barriers that delay recomputation, and the
            compiler then merges it with the first computation. The pass is therefore disabled (`resnet_cifar` of 20
            layers, 32 images of 32 x 32: 30 MiB of temporaries instead of 76; without recomputation 77).
    """
    if jax.default_backend() != "cpu":
        return gpu_options(settings)
    options = accepted_options(
        {
            "xla_cpu_use_fusion_emitters": False,
            "xla_backend_optimization_level": "1",
            "xla_cpu_experimental_ynn_fusion_type": "LIBRARY_FUSION_TYPE_INDIVIDUAL_DOT,LIBRARY_FUSION_TYPE_REDUCE",
        }
    )
    if "xla_cpu_use_fusion_emitters" in refused():
        options.pop("xla_backend_optimization_level", None)
    if settings.remat:
        options |= accepted_options({"xla_disable_hlo_passes": "cse_barrier_expander"})
    return options


def gpu_options(settings: CompileSettings) -> dict[str, Any]:
    """Returns those of `compile_options` that decide about kernels on a GPU; none for another backend."""
    if jax.default_backend() != "gpu":
        return {}
    options: dict[str, Any] = {
        "xla_gpu_experimental_enable_fusion_autotuner": False,
        "xla_gpu_autotune_max_solutions": "16",
    }
    if settings.deterministic:
        options["xla_gpu_exclude_nondeterministic_ops"] = True
    if settings.precision == "float32":
        options["xla_gpu_enable_triton_gemm"] = False
    return accepted_options(options)


def compile_for(jitted: Any, *args: Any) -> Any:
    """Returns the program of a jitted function for `args`; threads that call it trace one at a time."""
    with _TRACING:
        lowered = jitted.lower(*args)
    return lowered.compile()


class CompiledByShape:
    """Compiles a function once for each shape, before or at its first call, and calls the compiled program.

    Args:
        function: a pure function of pytrees of arrays.
        donate: positions of the arguments that give their memory to the outputs.
        out_shardings: shardings of the outputs, a pytree prefix; None leaves them to the compiler.
        name: name of the function in messages; default: its `__name__`.
        settings: as for `jit`.

    Attributes:
        name: name of the function in messages.
        programs: the compiled programs, by shape.
        seconds: seconds of compilation so far, summed over threads.
        waited: seconds that calls have waited for compilation so far.
        planned: the shapes that are compiled without a warning; None: all shapes.
    """

    def __init__(
        self,
        function: Callable[..., Any],
        donate: tuple[int, ...] = (),
        out_shardings: Any = None,
        name: str = "",
        settings: CompileSettings = CompileSettings(),
    ):
        self.name = name or getattr(function, "__name__", "function")
        self._jitted = jit(function, donate, out_shardings, settings)
        self._futures: dict[Hashable, Future] = {}
        self._lock = threading.Lock()
        self.programs: dict[Hashable, Callable[..., Any]] = {}
        self.seconds = self.waited = 0.0
        self.planned: set[Hashable] | None = None

    def __call__(self, shape: Hashable, *args: Any) -> Any:
        """Calls the program for `shape`, which must determine the shapes of all `args`.

        Warns:
            UnplannedCompilation: if the shape is not in `planned` and does not have a program yet.
        """
        program = self.programs.get(shape)
        if program is None:
            if self.planned is not None and shape not in self.planned:
                text = f"{self.name}: the plan does not have the bucket shape {shape}; compiling it now."
                warnings.warn(text, UnplannedCompilation, stacklevel=2)
            begun = time.perf_counter()
            program = self.compile(shape, *args)
            self.waited += time.perf_counter() - begun
        return program(*args)

    def compile_for(self, *args: Any) -> Any:
        """Returns the program for `args` (arrays, or their shapes and shardings) without keeping it."""
        return compile_for(self._jitted, *args)

    def compile(self, shape: Hashable, *args: Any) -> Any:
        """Returns the program for `shape`, compiled for `args` (arrays, or their shapes and shardings) if it is new.

        Threads may call this at the same time. One of them compiles a shape, and the others wait for it.
        """
        with self._lock:
            future = self._futures.get(shape)
            mine = future is None or (future.done() and future.exception() is not None)  # retries after a failure
            if mine:
                future = self._futures[shape] = Future()
        assert future is not None
        if mine:
            start = time.perf_counter()
            try:
                program = self.compile_for(*args)
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
        programs: the function to compile.
        shape: the bucket shape.
        args: shapes and shardings of its arguments.
        rows: rows of its batch, filler rows included; 0 if it does not take a batch.
        args_of: function from a number of rows to the arguments for a batch of that many rows.
    """

    programs: CompiledByShape
    shape: tuple[int, ...]
    args: tuple[Any, ...]
    rows: int = 0
    args_of: Callable[[int], tuple[Any, ...]] = lambda rows: ()

    @property
    def positions(self) -> int:
        """Number of padded positions of its batch, which ranks programs by memory."""
        return self.rows * math.prod(self.shape)


@contextmanager
def compiling_ahead(
    jobs: Iterable[Compilation],
    *,
    first: Collection[Compilation] | None = None,
    progress: bool = True,
    threads: int | None = None,
    done: Callable[[list[Compilation], float], None] = lambda jobs, seconds: None,
) -> Iterator[Callable[[], None]]:
    """Compiles those of `jobs` that are not yet compiled, in order and in the background, while the block runs.

    If the compilation of a program has not begun when the block ends, it stays uncompiled. The programs that the first
    step waits for start first, and without the others unless there is a thread for each program.

    Args:
        jobs: programs in the order of their first use.
        first: the jobs to begin with; None: all.
        progress: whether to show a bar with rate and time left.
        threads: at least 1; None: as many as there are cores.
        done: called in a thread when all new jobs are compiled, with these jobs and the seconds since the start.

    Yields:
        A function that starts the other jobs. Call it after the first step is dispatched; further calls do nothing.
    """
    new, threads = [job for job in jobs if job.shape not in job.programs.programs], threads or core_count()
    pool = ThreadPoolExecutor(threads, thread_name_prefix="compile")
    begun, left = time.perf_counter(), set(new)
    bar = progress_bar(total=len(new), title="compiling", unit=" programs", disable=not (progress and new), leave=False)

    lock = threading.Lock()

    def compile_one(job: Compilation):
        job.programs.compile(job.shape, *job.args)  # a failure is raised when the program is called
        with lock:
            left.discard(job)
            last = not left
        bar.update()
        if last:
            bar.close()
            done(new, time.perf_counter() - begun)

    waiting = list(new)

    def begin(chosen: Collection[Compilation]):
        for job in [job for job in waiting if job in chosen]:
            waiting.remove(job)
            pool.submit(compile_one, job)

    try:
        begin(new if first is None else first)
        if len(new) <= threads:
            begin(new)
        yield lambda: begin(new)
    finally:
        pool.shutdown(wait=False, cancel_futures=True)
        bar.close()
