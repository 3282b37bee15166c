"""Counts what XLA compiles, whoever asks for it."""

from collections.abc import Iterator
from contextlib import contextmanager

import jax

from fcnjax.training.compile.compilation import compile_options

EVENT = "/jax/core/compile/backend_compile_duration"


@contextmanager
def counted_compilations() -> Iterator[list[str]]:
    """Yields a list that grows by the name of every program that XLA compiles, anywhere in this process."""
    compile_options(remat=True)  # what XLA accepts is tried once per process, by programs that count as nobody's
    seen: list[str] = []

    def listen(event: str, seconds: float, **about: str):
        if event == EVENT:
            seen.append(about["fun_name"])

    jax.monitoring.register_event_duration_secs_listener(listen)
    try:
        yield seen
    finally:
        jax.monitoring.unregister_event_duration_listener(listen)
