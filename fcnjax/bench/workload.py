"""What `fcnjax bench train` trains: a network, a table of sizes, and the batches that each arm makes of it.

Axes: B rows, N examples, D spatial axes, S the spatial axes, C channels, K classes.
"""

import dataclasses
import math
import re
from collections.abc import Mapping
from functools import cached_property
from types import MappingProxyType
from typing import Any

import jax
import numpy as np
from flax import nnx

from fcnjax import models
from fcnjax.bench.jax_step import MOMENTUM, OPTIMIZER, RATE
from fcnjax.bench.native_sizes import Rows, Stretch, dense, drawn_within, full, of_one_size, planned, scaled_sizes
from fcnjax.data import BucketPlan, plan_buckets
from fcnjax.data.planning.baseline_buckets import pad_to_max
from fcnjax.data.size_table import areas
from fcnjax.models import Classifier
from fcnjax.naming import joined, unknown_name
from fcnjax.precision import PRECISIONS
from fcnjax.training.compile.compilation import CompileSettings
from fcnjax.training.step.average import Arrays
from fcnjax.training.step.step import TrainState, merge, split

OURS, DENSE, MAX, PER_SHAPE = "planned", "dense", "padded to max", "one size a batch"
MASKED, RAGGED, FLAX = "masked", "ragged", "plain flax"
FCN = "fcn"
MIN_EXTENT = 0.85  # of the dense shape: the smallest extent of a ragged example
COUNTED_SIZES = 64  # sizes of a stretch whose multiply-adds are counted; the others follow in proportion to their area


@dataclasses.dataclass(frozen=True, eq=False)
class Workload:
    """A network and its data: by default the forum thread's, pooling first, on batches of about equal area.

    Attributes:
        sizes: int [N, 2], sizes of the examples.
        network: a name in `fcnjax.models.MODELS`.
        image: (H, W) of the examples of a dense batch; None: the median size.
        rows: number of examples in a dense batch; None: as many as fit the pixel budget.
        shapes: maximum number of buckets of our plan, at least 1.
        pixel_budget: maximum number of positions in a batch; at least as many as the largest example has.
        steps: batches in a turn of a timed program, at least 1; the slower programs get fewer.
        epochs: number of epochs that share the time of compilation, at least 1.
        in_channels, classes: of the network.
        kernel, channels: options of `fcnjax.models.fcn`, for that network only.
        dtype: dtype of the computation, "float32" or "bfloat16"; weights are float32.
        precision: how float32 products are computed, "float32" or "tf32" (see `fcnjax.precision`).
        deterministic: whether our programs give the same bits in every run (see `CompileSettings`).

    Raises:
        ValueError: if a count is below 1, a name is unknown, or an example is too small for the network.
    """

    sizes: np.ndarray
    network: str = FCN
    image: tuple[int, int] | None = None
    rows: int | None = None
    shapes: int = 16
    pixel_budget: int = 2**17
    steps: int = 32
    epochs: int = 30
    in_channels: int = 3
    kernel: int = 4
    channels: tuple[int, ...] = (32, 64, 128)
    classes: int = 101
    dtype: str = "float32"
    precision: str = "float32"
    deterministic: bool = CompileSettings.deterministic

    def __post_init__(self):
        for name in ("shapes", "pixel_budget", "steps", "epochs"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name}={getattr(self, name)}: must be at least 1.")
        if self.precision not in PRECISIONS:
            raise ValueError(unknown_name("precision", self.precision, PRECISIONS))
        self.model.check_sizes(self.sizes)
        small = np.flatnonzero((self.sizes < 2 * np.array(self.model.min_size)).all(axis=1))
        if small.size and self.network == FCN:
            size = joined(self.sizes[small[0]].tolist())
            raise ValueError(
                f"sizes: example {small[0]} of size {size} shrinks to one position, for which PyTorch's batch norm has "
                "no variance; give larger sizes, or a larger scale."
            )

    @cached_property
    def model(self) -> Classifier:
        """The network, with shapes in place of arrays (`arrays` has values)."""
        options: dict[str, Any] = {name: getattr(self, name) for name in ("in_channels", "classes", "dtype")}
        if self.network == FCN:
            options |= {"kernel": self.kernel, "channels": self.channels, "head": {"pool_at": 0}}
        return nnx.eval_shape(lambda: models.create(self.network, rngs=nnx.Rngs(0), **options))

    @property
    def compile_settings(self) -> CompileSettings:
        """How our programs are compiled."""
        return CompileSettings(precision=self.precision, deterministic=self.deterministic)

    @cached_property
    def arrays(self) -> tuple[Arrays, Arrays]:
        """Weights and running statistics by name, float32."""
        _, weights, statistics = split(self.model)
        return drawn_arrays(weights), drawn_arrays(statistics)

    def state(self) -> TrainState:
        """Returns the initial state of our train step."""
        weights, statistics = jax.tree.map(jax.numpy.asarray, self.arrays)
        return TrainState(jax.numpy.int32(0), weights, statistics, OPTIMIZER.init(weights))

    @cached_property
    def buckets(self) -> BucketPlan:
        """The buckets of our training."""
        return plan_buckets(self.sizes, self.shapes, pixel_budget=self.pixel_budget)

    @property
    def few_steps(self) -> int:
        """Batches in a turn of a slower program."""
        return -(-self.steps // 4)

    @cached_property
    def stretches(self) -> dict[str, Stretch]:
        """The batches that each timed program in JAX trains on."""
        largest, whole = pad_to_max(self.sizes).with_budget(self.pixel_budget), self._dense()
        return {
            OURS: planned(self.sizes, self.buckets, self.steps),
            DENSE: whole,
            MASKED: whole,
            RAGGED: drawn_within(whole, MIN_EXTENT, np.array(self.model.min_size)),
            FLAX: whole,
            MAX: planned(self.sizes, largest, self.few_steps),
            PER_SHAPE: of_one_size(self.sizes, self.pixel_budget, self.few_steps),
        }

    def _dense(self) -> Stretch:
        if self.image is None:
            return dense(self.sizes, self.pixel_budget, self.steps)
        return full(self.image, self.rows or max(1, self.pixel_budget // math.prod(self.image)), self.steps)

    def recipe(self) -> dict[str, Any]:
        """Returns the recipe of a training run of this network and plan, as nested dictionaries."""
        options = {"channels": self.channels, "activation": "relu"} if self.network == FCN else {}
        return {
            "data": {"name": "drawn"},
            "model": {"name": self.network, "dtype": self.dtype, **options},
            "head": {"pool_at": 0} if self.network == FCN else {},
            "optimizer": {"name": "sgd", "learning_rate": RATE, "momentum": MOMENTUM, "warmup": 0, "weight_decay": 0},
            "precision": self.precision,
            "deterministic": self.deterministic,
            "max_buckets": self.shapes,
            "pixel_budget": self.pixel_budget,
            "batch_size": len(self.sizes),
        }

    def draw(self, rows: Rows) -> tuple[np.ndarray, np.ndarray]:
        """Returns random images float32 [B, *S, C], with values in the padding too, and labels int32 [B]."""
        rng = np.random.default_rng(rows.program)
        images = rng.standard_normal((*rows.program, self.in_channels), np.float32)
        return images, rng.integers(0, self.classes, len(rows.sizes)).astype(np.int32)

    def train_flops(self, stretch: Stretch) -> float:
        """Returns the floating-point operations of training on a stretch, counted at the examples' own sizes.

        A multiply-add is two operations. Only convolutions and linear layers are counted (`Classifier.trace`), and a
        train step counts as three forward passes. Padding and filler rows do not count: they are no use to the model.
        """
        sizes = np.concatenate([rows.sizes for rows in stretch.steps])
        sizes = sizes[areas(sizes) > 0]
        distinct, counts = np.unique(sizes, axis=0, return_counts=True)
        every = -(-len(distinct) // COUNTED_SIZES)
        distinct, counts = distinct[::every], counts[::every]
        counted = sum(
            count * row.multiply_adds
            for size, count in zip(distinct.tolist(), counts.tolist(), strict=True)
            for row in self.model.trace(size)
        )
        return 3 * 2 * counted * float(areas(sizes).sum()) / float(areas(distinct) @ counts)


def image_workload(
    path: str | None,
    scale: float | None = None,
    image: tuple[int, ...] | None = None,
    rows: int | None = None,
    fields: Mapping[str, Any] = MappingProxyType({}),
) -> Workload:
    """Returns the workload of a network for photographs of 1,000 classes, of a size that suits the device.

    Args:
        path: CSV file of sizes; None draws sizes.
        scale: factor on every extent; None: the median area becomes that of `image`.
        image: (H, W) of a dense batch; None: 224 x 224, 96 x 96 on a CPU.
        rows: examples in a dense batch; None: 128, 8 on a CPU.
        fields: further fields of `Workload`.

    Raises:
        ValueError: as `scaled_sizes` and `Workload`.
    """
    on_cpu = jax.default_backend() == "cpu"
    height, width = image or ((96, 96) if on_cpu else (224, 224))
    rows = rows or (8 if on_cpu else 128)
    if scale is None:
        scale = float((height * width / np.median(areas(scaled_sizes(path, 1)))) ** 0.5)
    sizes = scaled_sizes(path, scale)
    budget = max(rows * height * width, int(areas(sizes).max()))
    defaults: dict[str, Any] = {"classes": 1000, "shapes": 8, "steps": 2 if on_cpu else 16, "pixel_budget": budget}
    return Workload(sizes, image=(height, width), rows=rows, **defaults | dict(fields))


def drawn_arrays(shapes: Any) -> Any:
    """Returns float32 arrays: random kernels that keep the variance, ones for scales and variances, zeros otherwise.

    NumPy draws them, which compiles nothing; JAX's initializers compile a program for each shape.

    Args:
        shapes: a pytree of objects with a `shape`; the keys on the path to each name it.
    """
    rng = np.random.default_rng(0)

    def draw(path: Any, array: Any) -> np.ndarray:
        if len(array.shape) > 1:
            scale = np.float32((2 / math.prod(array.shape[:-1])) ** 0.5)
            return scale * rng.standard_normal(array.shape, np.float32)
        one = re.search(r"\b(scale|var|variance)\b", jax.tree_util.keystr(path))
        return np.full(array.shape, 1 if one else 0, np.float32)

    return jax.tree_util.tree_map_with_path(draw, shapes)


def drawn_model(abstract: Classifier) -> Classifier:
    """Returns a network with the arrays that `drawn_arrays` draws in place of shapes."""
    graphdef, weights, statistics = split(abstract)
    drawn = (jax.tree.map(jax.numpy.asarray, drawn_arrays(shapes)) for shapes in (weights, statistics))
    return merge(graphdef, *drawn)
