"""The answers of a network under different padding, and how far they differ (see `fcnjax.bench.exactness`).

Axes: B batch, H height, W width, C channels, K classes.
"""

import concurrent.futures
import dataclasses
import time
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from fcnjax import models
from fcnjax.layers import Activation, AveragePool, MaxPool, Sequential
from fcnjax.padded import Padded
from fcnjax.training.compile.compilation import CompileSettings, jit
from fcnjax.training.step.step import Arrays, Targets, make_gradient, merge, split

CLASSES, CHANNELS = 10, 3
# A GPU's compiler would otherwise choose kernels by timing them, which takes minutes for all networks.
DETERMINISTIC = CompileSettings(deterministic=True)
SMALLEST_SHARE = 1e-2  # of the largest gradient: the least that a difference is compared with


class Mode(NamedTuple):
    """How a network computes: the dtype of its activations, and how products of float32 numbers are done."""

    dtype: str
    precision: str

    @property
    def name(self) -> str:
        """Its heading in tables."""
        return self.dtype if self.precision == "float32" else f"{self.dtype}, {self.precision}"


@dataclasses.dataclass(frozen=True)
class Workload:
    """What is compared, from the device: a GPU needs more work for its times to mean something.

    Attributes:
        batch_size: examples of the training batch, at least 3.
        extents: smallest and largest extent of an example.
        alone: how many examples are computed alone; each compiles a program.
        seed: of weights, sizes and images.
    """

    batch_size: int = 8
    extents: tuple[int, int] = (48, 72)
    alone: int = 3
    seed: int = 0

    @classmethod
    def for_device(cls) -> "Workload":
        """Returns the workload for the default device."""
        return cls() if jax.default_backend() == "cpu" else cls(batch_size=64, extents=(96, 160), alone=2)

    def draw(self) -> tuple[list[np.ndarray], np.ndarray]:
        """Returns images float32 [H, W, C] of different sizes, and labels int32 [B]."""
        rng = np.random.default_rng(self.seed)
        sizes = rng.integers(self.extents[0], self.extents[1] + 1, (self.batch_size, 2))
        sizes[-1] = self.extents[1]  # so that the last one fills the smallest shape
        images = [rng.standard_normal((*size, CHANNELS), np.float32) for size in sizes.tolist()]
        return images, rng.integers(0, CLASSES, self.batch_size).astype(np.int32)


class Batches(NamedTuple):
    """The same examples, padded in several ways.

    Attributes:
        alone: batches of one example at its own size; example i is row `rows[i]` of `wide`.
        tight: all examples in the smallest shape.
        wide: all examples in a larger shape, in another order, and filler rows.
        tight_targets: labels and ids for `tight`.
        wide_targets: labels and ids for `wide`.
        rows: the rows of the examples in `wide`.
    """

    alone: list[Padded]
    tight: Padded
    wide: Padded
    tight_targets: Targets
    wide_targets: Targets
    rows: np.ndarray

    @classmethod
    def of(cls, work: Workload) -> "Batches":
        """Returns the batches of a workload."""
        images, labels = work.draw()
        order = np.random.default_rng(work.seed + 1).permutation(work.batch_size)
        fillers = 1 + work.batch_size // 8
        largest = work.extents[1]
        shape = (largest + largest // 8 + 1, largest + largest // 5)
        wide = Padded.stack([images[i] for i in order], shape=shape, batch_size=work.batch_size + fillers)
        nothing = np.zeros(fillers, np.int32)
        wide_targets = Targets(*(np.concatenate([each[order], nothing]) for each in (labels, ids_of(labels))))
        alone = [Padded.stack([image]) for image in images[: work.alone]]
        return cls(alone, Padded.stack(images), wide, Targets(labels, ids_of(labels)), wide_targets, np.argsort(order))


def ids_of(labels: np.ndarray) -> np.ndarray:
    """Returns the ids of examples, which key their random draws, int32 [B]."""
    return np.arange(len(labels), dtype=np.int32)


def random_network(name: str, dtype: str, seed: int = 0) -> models.Classifier:
    """Returns a network with random weights, biases and statistics.

    Kernels are normal, scaled by their fan-in; scales, variances and the other vectors are at least 0.3.
    """

    def make() -> models.Classifier:
        return models.create(name, classes=CLASSES, in_channels=CHANNELS, dtype=dtype, rngs=nnx.Rngs(0))

    model, rng = nnx.eval_shape(make), np.random.default_rng(seed)  # shapes alone: nothing is compiled
    for path, variable in nnx.to_flat_state(nnx.state(model, (nnx.Param, nnx.BatchStat))):
        drawn, shape = rng.standard_normal(variable.shape, np.float32), variable.shape
        signed = path[-1] in ("bias", "mean")
        vector = 0.3 * drawn if signed else 0.3 + np.abs(0.5 * drawn)
        scaled = drawn / np.sqrt(np.prod(shape[:-1])) if len(shape) > 1 else vector
        variable.set_value(jnp.asarray(scaled, jnp.float32))
    return model


def smoothed(model: models.Classifier) -> models.Classifier:
    """Returns the network with SiLU in place of ReLU and mean in place of max over windows, changed in place."""
    for _, module in nnx.iter_modules(model):
        if isinstance(module, Activation) and _is_relu(module.function):
            module.function = jax.nn.silu
        if isinstance(module, Sequential):
            for index, layer in enumerate(module.layers):
                if isinstance(layer, MaxPool):
                    module.layers[index] = _mean_pool(layer.window(model.rank))
    return model


def _is_relu(function: Callable[[jax.Array], jax.Array]) -> bool:
    """Returns whether a function is a ReLU, whatever its name: there are several, with gradients of their own."""
    return np.asarray(function(jnp.array([-2.0, 3.0]))).tolist() == [0.0, 3.0]


def _mean_pool(windows: Sequence[Any]) -> AveragePool:
    kernel, stride, padding = (
        [getattr(window, name) for window in windows] for name in ("kernel", "stride", "padding")
    )
    return AveragePool(kernel, rank=len(windows), stride=stride, padding=padding, ceil=windows[0].ceil)


class Comparison:
    """The programs of one network in one mode, which compile in threads, and the comparison of their answers.

    Args:
        name: a key of `fcnjax.models.MODELS`.
        mode: how the network computes.
        work: what is compared.
        pool: the threads. The programs are traced here, as tracing is Python, which runs in one thread at a time.

    Attributes:
        compiling: the programs.
    """

    def __init__(self, name: str, mode: Mode, work: Workload, pool: concurrent.futures.Executor):
        model = random_network(name, mode.dtype, work.seed)
        graphdef, weights, statistics = split(model)
        smooth, _, _ = split(smoothed(model))
        settings = dataclasses.replace(DETERMINISTIC, precision=mode.precision)
        classify = jit(lambda *arrays_and_batch: _logits(graphdef, *arrays_and_batch), settings=settings)
        train = jit(make_gradient(smooth), settings=settings)
        batches = Batches.of(work)
        tight, wide = (
            (weights, statistics, batch, targets, jnp.zeros(2, jnp.uint32))
            for batch, targets in ((batches.tight, batches.tight_targets), (batches.wide, batches.wide_targets))
        )
        calls = [(train, tight), (train, wide)]
        calls += [(classify, (weights, statistics, batch)) for batch in (batches.wide, *batches.alone)]
        self.name, self.mode = name, mode
        self._rows, self._arguments = batches.rows, [arguments for _, arguments in calls]
        self.compiling = [pool.submit(jitted.lower(*arguments).compile) for jitted, arguments in calls]

    @property
    def ready(self) -> bool:
        """Whether the compilation of all programs has ended."""
        return all(future.done() for future in self.compiling)

    def worst(self, seconds: float) -> dict[str, float]:
        """Returns the worst relative difference of each answer; there are no "statistics" without a batch norm.

        Args:
            seconds: how long to wait for the programs.

        Raises:
            TimeoutError: if they are not compiled by then.
        """
        waited = concurrent.futures.wait(self.compiling, max(0.0, seconds))
        if waited.not_done:
            for future in waited.not_done:
                future.cancel()
            raise TimeoutError("not compiled in time")
        tight, wide, together, *alone = (
            future.result()(*arguments) for future, arguments in zip(self.compiling, self._arguments, strict=True)
        )
        rows = np.asarray(together)[self._rows[: len(alone)]]
        worst = {
            "logits": max(relative(np.asarray(one)[0], row) for one, row in zip(alone, rows, strict=True)),
            "gradients": worst_of(tight[2], wide[2], SMALLEST_SHARE),
        }
        return worst | ({"statistics": worst_of(tight[1], wide[1])} if tight[1] else {})

    def step_ms(self) -> list[float]:
        """Returns the milliseconds of several forward and backward passes over the training batch."""
        program, arguments = self.compiling[0].result(), self._arguments[0]
        return timed(lambda: program(*arguments))


def _logits(graphdef: nnx.GraphDef, weights: Arrays, statistics: Arrays, batch: Padded) -> jax.Array:
    return merge(graphdef, weights, statistics)(batch)


def relative(one: Any, other: Any, least: float = 0.0) -> float:
    """Returns the largest difference of two arrays, relative to the largest value of either, or to `least`.

    Numbers that are not finite in one of them alone make it infinite; 0 if both are 0 throughout.
    """
    a, b = np.asarray(one, np.float64), np.asarray(other, np.float64)
    scale = max(np.abs(a).max(initial=0.0), np.abs(b).max(initial=0.0), least)
    if not (np.isfinite(a).all() and np.isfinite(b).all()):
        return float("inf")
    return float(np.abs(a - b).max(initial=0.0) / scale) if scale else 0.0


def worst_of(one: Arrays, other: Arrays, share: float = 0.0) -> float:
    """Returns the worst `relative` of all arrays; none is compared with less than `share` of the largest value."""
    least = share * max((float(np.abs(np.asarray(array)).max(initial=0.0)) for array in one.values()), default=0.0)
    return max((relative(one[name], other[name], least) for name in one), default=0.0)


def timed(call: Callable[[], Any], seconds: float = 1.0, least: int = 5, most: int = 50) -> list[float]:
    """Returns the milliseconds of each of several calls, after one that warms up."""
    jax.block_until_ready(call())
    times: list[float] = []
    end = time.perf_counter() + seconds
    while len(times) < least or (len(times) < most and time.perf_counter() < end):
        begun = time.perf_counter()
        jax.block_until_ready(call())
        times.append(1e3 * (time.perf_counter() - begun))
    return times
