"""The train step of this library as the benchmarks time it: SGD with momentum, repeated on the same inputs.

Axes: B batch.
"""

from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import optax

from fcnjax.models import Classifier
from fcnjax.padded import Padded
from fcnjax.training.step.step import Targets, TrainState, make_gradient, make_train_step, split

RATE, MOMENTUM = 0.01, 0.9  # of SGD
OPTIMIZER = optax.sgd(RATE, momentum=MOMENTUM)


def make_step(model: Classifier) -> tuple[Callable[..., tuple[TrainState, jax.Array]], TrainState]:
    """Returns the step as training runs it, not compiled, and its initial state."""
    graphdef, weights, statistics = split(model)
    state = TrainState(jnp.int32(0), weights, statistics, OPTIMIZER.init(weights))
    return make_train_step(make_gradient(graphdef), OPTIMIZER), state


def step_inputs(batch: Padded, labels: jax.Array) -> tuple[Padded, Targets, jax.Array]:
    """Returns the arguments of the step of `make_step` after the state, for a batch and its labels [B]."""
    return batch, Targets(labels, jnp.arange(len(labels), dtype=jnp.int32)), jnp.zeros(2, jnp.uint32)


class JaxStep:
    """A train step in JAX with the state that it changes. A call runs the next step and returns its loss.

    It cycles through `steps`.

    Args:
        state: the initial state; it is copied, because steps donate its memory.
        steps: for each step, its program `(state, *inputs) -> (state, loss)` and the inputs.

    Attributes:
        steps: as given.
    """

    def __init__(self, state: TrainState, steps: Sequence[tuple[Callable[..., Any], tuple[Any, ...]]]):
        self.steps, self._done = steps, 0
        self._state = jax.tree.map(jnp.copy, state)

    def __call__(self) -> jax.Array:
        program, inputs = self.steps[self._done % len(self.steps)]
        self._done += 1
        self._state, loss = program(self._state, *inputs)
        return loss

    def run(self, steps: int) -> None:
        """Runs that many steps and waits for the last one."""
        for _ in range(steps):
            self()
        jax.block_until_ready(self._state)
