"""Predictions of a network that stands alone, for examples of any sizes: few rectangles, few compiled programs.

Axes: N examples, K classes, B rows of a batch, D spatial axes.
"""

import dataclasses
import itertools
import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from PIL import Image
from tqdm import tqdm

from fcnjax.data import (
    BucketPlan,
    EvaluationPlan,
    PartialSource,
    ResizedSource,
    SizePolicy,
    Source,
    UnreadableExample,
    plan_buckets,
)
from fcnjax.data.size_table import areas
from fcnjax.data.sources.size_policy import size_words
from fcnjax.inference.inputs import Inputs, Item
from fcnjax.inference.prediction import Prediction
from fcnjax.models import Classifier
from fcnjax.naming import joined
from fcnjax.padded import Padded
from fcnjax.training.compile.compilation import CompileSettings, jit
from fcnjax.training.compile.mesh import make_mesh, replicated
from fcnjax.training.feeding import Feed
from fcnjax.training.standalone import Standalone, read_model
from fcnjax.training.step.average import Arrays
from fcnjax.training.step.step import merge

AT_ONCE = 512  # items of a generator that are predicted together
GRID = {1: 1024, 2: 16, 3: 8}  # rectangles are multiples of this, so that examples of other sizes meet compiled ones
POSITIONS = 2**22  # of a batch, padding included
MAX_AREA = 2**24  # 4096 x 4096
WASTE = 1.0  # an example goes into a compiled rectangle of up to this more than its own area on the grid


def load(model: Path | str, **options: Any) -> "Predictor":
    """Returns a predictor of a trained network; no data set needs to be there.

    Args:
        model: a finished run, or a model folder.
        **options: further arguments of `Predictor`.

    Raises:
        FileNotFoundError: if there is no model.
        ValueError: if a file of the model is damaged, or is not of the same network as the others; or if the model has
            no head, as imported weights may.
    """
    return Predictor(read_model(model), **options)


class Predictor:
    """Predicts classes of files, images and arrays, as evaluation does after training.

    `predictor(item)` returns a `Prediction`, `predictor([item, ...])` a list of them, and of a generator it yields
    them. An item is the path of a file, a Pillow image, or an array [*S, C], uint8 or floating.

    Args:
        model: the network.
        max_buckets: rectangles that one call may compile, at least 1.
        batch_size: rows of a batch, at least 1.
        max_area: positions of the largest example, after the size policy of training; larger ones are refused by name,
            as the features of a network take many times the memory of an image.

    Attributes:
        model: the network and its description.
        classes: names of the classes, in the order of the logits.
    """

    def __init__(
        self, model: Standalone, *, max_buckets: int = 8, batch_size: int = 32, max_area: int = MAX_AREA
    ) -> None:
        for name, value in (("max_buckets", max_buckets), ("batch_size", batch_size), ("max_area", max_area)):
            if value < 1:
                raise ValueError(f"{name}={value}: must be at least 1.")
        model.check_head()
        self.model, self.classes = model, model.classes
        self._max_buckets, self._batch_size, self._max_area = max_buckets, batch_size, max_area
        self._mesh = make_mesh(jax.local_devices()[:1])
        self._weights, self._statistics = jax.device_put((model.weights, model.statistics), replicated(self._mesh))
        data = dataclasses.replace(model.recipe.data, on_error="mask")  # a file that is damaged inside is named
        self._recipe = dataclasses.replace(model.recipe, data=data)
        self._network = model.network
        self._logits = jit(_logits_of(model.graphdef), settings=CompileSettings.of(model.recipe))
        self._compiled: set[tuple[tuple[int, ...], int]] = set()  # shapes and rows of the programs

    @property
    def network(self) -> Classifier:
        """The network itself, for inputs [B, *S, C] from which mean and deviation are taken out."""
        return self._network

    @property
    def programs(self) -> int:
        """Number of programs that were compiled so far."""
        return len(self._compiled)

    def __call__(self, items: Item | Iterable[Item]) -> Any:
        """Returns the prediction of one item, or the predictions of several, in their order.

        Args:
            items: one item, a list or tuple of items, or a generator of them.

        Returns:
            A `Prediction`, a list of them, or an iterator.

        Raises:
            UnreadableExample: if a file cannot be read; the message names it. `predict` leaves such files out.
            ValueError: if an array is not such as in training, or an example is below the network's minimum size.
            TypeError: if an item is of another type.
        """
        if isinstance(items, str | os.PathLike | Image.Image) or hasattr(items, "__array__"):
            return self._all([items])[0]
        if isinstance(items, Sequence):
            return self._all(items)
        if isinstance(items, Iterable):
            return self._each(items)
        return self._all([items])[0]  # refused, with its type

    def predict(
        self, items: Sequence[Item], *, progress: bool = False
    ) -> tuple[list[Prediction | None], dict[str, str]]:
        """Returns the predictions of all items that can be read, and why each other one cannot.

        Args:
            items: paths of files, Pillow images, or arrays.
            progress: whether to show a bar with rate and time left.

        Returns:
            The predictions in the order of the items, None for an item without one; and the reason by name.

        Raises:
            ValueError: if an array is not such as in training.
            TypeError: if an item is of another type.
        """
        inputs = Inputs(items, self.model, progress=progress)
        unreadable = dict(inputs.unreadable)
        found: list[Prediction | None] = [None] * len(items)
        if len(inputs):
            logits, refused = self.scores(inputs, progress=progress)
            unreadable |= refused
            for position, name, scores in zip(inputs.kept.tolist(), inputs.names or (), logits, strict=True):
                if not np.isnan(scores).any():
                    named = name if isinstance(items[position], str | os.PathLike) else ""
                    found[position] = Prediction(scores, self.classes, named)
        return found, unreadable

    def scores(self, source: Source, *, progress: bool = False) -> tuple[np.ndarray, dict[str, str]]:
        """Returns the logits of all examples of a source.

        Args:
            source: examples of the channels of training, before the size policy of training.
            progress: whether to show a bar.

        Returns:
            float32 [N, K] in the order of the source, NaN for an example without a prediction; and why, by name.
        """
        logits, refused = np.full((len(source), len(self.classes)), np.nan, np.float32), {}
        policy, minimum = self.model.recipe.size, self.network.min_size
        content = policy.content_sizes(source.sizes, minimum)
        small = (content < policy.smallest(minimum)).any(axis=1) & (policy.below != "pad")
        large = areas(content) > self._max_area
        for index in np.flatnonzero(small | large).tolist():
            words = size_words(source.sizes[index], content[index])
            limit = f"has more than max_area={self._max_area:,} positions"
            if small[index]:
                limit = f"is below the minimum of this network, {joined(policy.smallest(minimum).tolist())}"
            refused[source.name_of(index)] = f"{words} {limit}"
        rows = np.flatnonzero(~(small | large))
        if not len(rows):
            return logits, refused
        kept: Source = source if len(rows) == len(source) else PartialSource(source, rows, {})
        if policy != SizePolicy():
            kept = ResizedSource(kept, policy, minimum)
        plan = EvaluationPlan(kept.sizes, *self._buckets(kept.sizes))
        feed = Feed(self._recipe, {"test": kept}, self._mesh)
        with tqdm(total=len(kept), desc="predicting", unit=" examples", disable=not progress) as bar:
            for step, batch in feed.batches("test", plan, 0, len(plan)):
                inputs, _ = feed.inputs(batch)
                out, real = self._logits(self._weights, self._statistics, inputs), batch.ids >= 0
                self._compiled.add((step.shape, len(batch.ids)))
                logits[rows[step.rows[real]]] = np.asarray(out)[real]
                refused |= dict(batch.unreadable)
                bar.update(int((step.rows >= 0).sum()))
        return logits, refused

    def _buckets(self, sizes: np.ndarray) -> tuple[BucketPlan, list[int]]:
        """Returns rectangles for sizes [N, D], compiled ones where they fit well, and the rows of a batch of each."""
        known = np.array(sorted({shape for shape, _ in self._compiled}), np.int32).reshape(-1, sizes.shape[1])
        padded = np.where((sizes[:, None] <= known).all(axis=2), areas(known), np.inf).min(axis=1, initial=np.inf)
        grid = GRID[sizes.shape[1]]
        new = sizes[padded > (1 + WASTE) * areas(-(-sizes // grid) * grid)]
        if len(new):
            planned = plan_buckets(new, self._max_buckets, multiple_of=grid).shapes
            known = np.unique(np.concatenate([known, planned]), axis=0)
        counts = np.bincount(BucketPlan(known).assign(sizes), minlength=len(known))
        used = BucketPlan(BucketPlan(known).shapes[counts > 0])
        return used, [self._rows(*pair) for pair in zip(used.shapes, counts[counts > 0].tolist(), strict=True)]

    def _rows(self, shape: np.ndarray, count: int) -> int:
        """Returns the rows of a batch of a rectangle for `count` examples: a power of 2, or all that are allowed."""
        most = max(1, min(self._batch_size, POSITIONS // int(shape.prod())))
        compiled = sorted(rows for known, rows in self._compiled if known == tuple(shape.tolist()) and rows >= count)
        return compiled[0] if compiled else min(most, 1 << (count - 1).bit_length())

    def _all(self, items: Sequence[Item]) -> list[Prediction]:
        found, unreadable = self.predict(items)
        for name, reason in unreadable.items():
            raise UnreadableExample(name, reason)
        return [prediction for prediction in found if prediction is not None]

    def _each(self, items: Iterable[Item]) -> Iterator[Prediction]:
        waiting = iter(items)
        while some := list(itertools.islice(waiting, AT_ONCE)):
            yield from self._all(some)


def _logits_of(graphdef: nnx.GraphDef[Classifier]) -> Callable[[Arrays, Arrays, Padded], jax.Array]:
    """Returns the function from weights, statistics and a batch to logits, float32 [B, K]."""

    def logits(weights: Arrays, statistics: Arrays, batch: Padded) -> jax.Array:
        return merge(graphdef, weights, statistics)(batch).astype(jnp.float32)

    return logits
