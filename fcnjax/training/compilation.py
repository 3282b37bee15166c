"""One compiled program per shape, counted: a shape that was not planned is a fact one can see, not a slow step."""

import time
from collections.abc import Callable, Hashable
from typing import Any

import jax


class CompiledByShape:
    """Compiles a function ahead of its first call for each shape, and calls the compiled program from then on.

    Args:
      function: a pure function of pytrees of arrays.
      donate: positions of the arguments whose memory the outputs may take.

    Attributes:
      programs: the compiled programs, by shape.
      seconds: time that compilation has taken so far.
    """

    def __init__(self, function: Callable[..., Any], donate: tuple[int, ...] = ()):
        self._jitted = jax.jit(function, donate_argnums=donate)
        self.programs: dict[Hashable, Callable[..., Any]] = {}
        self.seconds = 0.0

    def __call__(self, shape: Hashable, *args: Any) -> Any:
        """Calls the program for `shape`, which must determine the shapes of all `args`."""
        program = self.programs.get(shape)
        if program is None:
            start = time.perf_counter()
            program = self.programs[shape] = self._jitted.lower(*args).compile()
            self.seconds += time.perf_counter() - start
        return program(*args)
