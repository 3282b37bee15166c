"""One compiled program per shape, counted: a shape that was not planned is a fact one can see, not a slow step."""

import time
from collections.abc import Callable, Hashable
from typing import Any

import jax


def jit(function: Callable[..., Any], donate: tuple[int, ...] = (), *, remat: bool = False) -> Any:
    """Returns `jax.jit(function)` with the compiler options that suit the default backend.

    On CPU the matrix products are precompiled, and what is left gains nothing from LLVM's full effort: for the forum
    thread's network the two programs of a training run compiled in 7.3 instead of 13.2 s, side by side, and their steps
    took the same time (level 0: 4.9 s, but steps 5 times as long); drawing one kernel in 0.2 instead of 1.5 s.

    Args:
      function: a pure function of pytrees of arrays.
      donate: positions of the arguments whose memory the outputs may take.
      remat: whether the function computes activations anew. XLA's CPU compiler drops the barriers that say when, by a
        pass that is left out then: else it merges both computations again (`resnet_cifar` of 20 layers, 32 images of
        32 x 32: 76 in place of 30 MiB of temporaries, against 77 without).
    """
    options: dict[str, Any] = {}
    if jax.default_backend() == "cpu":
        options = {"xla_cpu_use_fusion_emitters": False, "xla_backend_optimization_level": "1"}
        if remat:
            options["xla_disable_hlo_passes"] = "cse_barrier_expander"
    return jax.jit(function, donate_argnums=donate, compiler_options=options)


class CompiledByShape:
    """Compiles a function ahead of its first call for each shape, and calls the compiled program from then on.

    Args:
      function: a pure function of pytrees of arrays.
      donate: positions of the arguments whose memory the outputs may take.
      remat: as for `jit`.

    Attributes:
      programs: the compiled programs, by shape.
      seconds: time that compilation has taken so far.
    """

    def __init__(self, function: Callable[..., Any], donate: tuple[int, ...] = (), *, remat: bool = False):
        self._jitted = jit(function, donate, remat=remat)
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
