"""Options, flags and metadata that this XLA accepts: each is tried once per process, never inferred from a version.

XLA rejects an unknown compile option and ends the process for an unknown flag, and releases add and drop both. Whatever
XLA does not accept is left out; `refused` lists it for the environment record of a run.
"""

import functools
import importlib.metadata
import importlib.util
import os
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from contextvars import ContextVar
from typing import Any, TypeVar

import jax
from jax import lax

try:
    from jax.experimental.xla_metadata import set_xla_metadata
except ImportError:  # experimental: a later JAX may drop it
    set_xla_metadata = None

T = TypeVar("T")
FLAGS = "XLA_FLAGS"  # environment variable, read once, by the first computation
# For a CPU: XLA's older emitters of fused loops, and no unrolled loops, which take a quarter of the time of compilation
# and make no step faster. Neither has a compile option in jax 0.11, only this flag of the process; jax 0.12 has dropped
# the emitters and ignores their part.
CPU_COMPILER = "--xla_backend_extra_options=xla_cpu_disable_new_fusion_emitters,xla_cpu_disable_loop_unrolling"
_METADATA = "jax.experimental.xla_metadata"
_PARSE_FLAGS = "from jaxlib import _jax; _jax.CompileOptions()"  # the cheapest call that makes XLA read its flags
_compiled_for: ContextVar[str | None] = ContextVar("compiled_for", default=None)
_added: set[str] = set()
_refused: set[str] = set()


def accepted_options(options: Mapping[str, Any]) -> dict[str, Any]:
    """Returns the compile options that the default backend accepts.

    Options that `XLA_FLAGS` sets are left out too, because a compile option would override the flag.

    Args:
        options: values by name, as in the `compiler_options` of `jax.jit`.
    """
    given = os.environ.get(FLAGS, "")
    return {name: value for name, value in options.items() if f"--{name}=" not in given and _accepts(name, value)}


@functools.cache
def _accepts(name: str, value: Any) -> bool:
    try:
        jax.jit(lambda: 0, compiler_options={name: value}).lower().compile()
    except jax.errors.JaxRuntimeError:  # INVALID_ARGUMENT: unknown option or unknown value
        _refused.add(name)
        return False
    return True


def add_flags(platform: str, *flags: str) -> None:
    """Adds the flags that XLA accepts to `XLA_FLAGS`, if JAX will compute on this kind of device.

    A flag that `XLA_FLAGS` already sets is not added. New flags are tried in a separate process (0.1 s), because XLA
    ends a process that sets an unknown flag.

    Call it before JAX's first computation, which reads the flags. Flags are a setting of the whole process, so the
    library adds them in commands only; in your own program, call this function first or set `XLA_FLAGS`.

    Args:
        platform: "cpu" or "gpu".
        *flags: as in `XLA_FLAGS`, each with its value.
    """
    given = os.environ.get(FLAGS, "")
    new = [flag for flag in flags if f"{flag.partition('=')[0]}=" not in given]
    if not new or _backend() != platform:
        return
    if not _accepts_flags(*new):
        _refused.update(flag for flag in new if not _accepts_flags(flag))
    accepted = [flag for flag in new if flag not in _refused]
    _added.update(accepted)
    os.environ[FLAGS] = " ".join([*given.split(), *accepted])


@functools.cache
def _accepts_flags(*flags: str) -> bool:
    if not sys.executable:  # an embedded Python has no interpreter to try the flags in
        return False
    environ = {**os.environ, FLAGS: " ".join(flags)}
    return subprocess.run([sys.executable, "-c", _PARSE_FLAGS], env=environ, capture_output=True).returncode == 0


def _backend() -> str:
    """Returns what JAX will compute on, "cpu", "gpu" or "tpu"; it starts no backend, which would read the flags."""
    platforms = jax.config.jax_platforms  # type: ignore[attr-defined]  (JAX declares it at run time)
    if platforms:
        first = platforms.split(",")[0]
        return "gpu" if first in ("cuda", "rocm") else first
    if importlib.util.find_spec("libtpu"):
        return "tpu"
    plugins = importlib.util.find_spec("jax_plugins") or importlib.metadata.entry_points(group="jax_plugins")
    return "gpu" if plugins else "cpu"


def given_flags() -> str:
    """Returns `XLA_FLAGS` without the flags that `add_flags` has added in this process."""
    return " ".join(flag for flag in os.environ.get(FLAGS, "").split() if flag not in _added)


def refused() -> list[str]:
    """Returns the sorted names of the options, flags and metadata that this process tried and left out."""
    return sorted({*_refused, *([] if set_xla_metadata else [_METADATA])})


@contextmanager
def compiling_for(platform: str) -> Iterator[None]:
    """Lets `by_platform` choose while a program is traced: within it, the program is compiled for one platform.

    JAX remembers the trace of a function and does not trace it again for another platform: define it again instead.

    Args:
        platform: "cpu", "gpu" or "tpu".
    """
    token = _compiled_for.set(platform)
    try:
        yield
    finally:
        _compiled_for.reset(token)


def by_platform(*args: Any, cpu: Callable[..., Any], default: Callable[..., Any]) -> Any:
    """Returns `cpu(*args)` where the program runs on a CPU, and `default(*args)` elsewhere.

    A program that may be compiled for any platform holds both until it is compiled (`lax.platform_dependent`). Within
    `compiling_for`, it holds one of them: a train step of `convnext_tiny` is traced in 1.6 instead of 2.5 s.
    """
    platform = _compiled_for.get()
    if platform is None:
        return lax.platform_dependent(*args, cpu=cpu, default=default)
    return (cpu if platform == "cpu" else default)(*args)


def fusion_boundary(function: Callable[..., T], static_argnums: Sequence[int] = ()) -> Callable[..., T]:
    """Returns the same function, but XLA fuses neither it nor its derivatives with producers or consumers.

    XLA's CPU compiler recomputes an elementwise function or a transposition inside each of its consumers, which is
    slow, and it drops a `lax.optimization_barrier` before it fuses. Without JAX's metadata for XLA, the function is
    returned without a boundary: it computes the same values, more slowly.

    Args:
        function: a function of arrays and of static arguments. JAX traces it once for all calls with the same shapes;
            if it is defined inside another function, once for each of that function's calls.
        static_argnums: positions of the static arguments, which are hashable.
    """
    jitted = jax.jit(function, static_argnums=static_argnums)

    @functools.wraps(function)
    def call(*args: Any) -> T:
        with set_xla_metadata(inlineable="false") if set_xla_metadata else nullcontext():
            return jitted(*args)

    return call
