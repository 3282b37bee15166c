"""Counts the programs that XLA compiles in this process."""

from collections.abc import Iterator
from contextlib import contextmanager

import jax

from fcnjax.training.compile.compilation import CompileSettings, compile_options

EVENT = "/jax/core/compile/backend_compile_duration"


@contextmanager
def counted_compilations() -> Iterator[list[str]]:
    """Yields a list; the name of every program that XLA compiles while the block runs is added to it."""
    compile_options(CompileSettings(remat=True))  # the first call in a process compiles programs to test XLA's options
    seen: list[str] = []

    def listen(event: str, seconds: float, **about: str):
        if event == EVENT:
            seen.append(about["fun_name"])

    jax.monitoring.register_event_duration_secs_listener(listen)
    try:
        yield seen
    finally:
        jax.monitoring.unregister_event_duration_listener(listen)
