"""What a network computes of examples of any sizes: few rectangles, few compiled programs, one batch at a time.

Axes: N examples, K classes, C feature channels, B rows of a batch, S spatial (S' of class maps), D spatial axes.
"""

import dataclasses
import math
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from fcnjax.data import BucketPlan, EvaluationPlan, PartialSource, ResizedSource, SizePolicy, Source, plan_buckets
from fcnjax.data.size_table import areas
from fcnjax.data.sources.size_policy import size_words
from fcnjax.heads import activation_maps, pooled_features
from fcnjax.heads.flatten_dense import why_not
from fcnjax.models import Classifier
from fcnjax.naming import joined
from fcnjax.padded import Padded
from fcnjax.progress import progress_bar
from fcnjax.training.compile.compilation import CompileSettings, jit
from fcnjax.training.compile.mesh import make_mesh, replicated
from fcnjax.training.feeding import Feed
from fcnjax.training.standalone import Standalone
from fcnjax.training.step.average import Arrays
from fcnjax.training.step.step import merge

GRID = {1: 1024, 2: 16, 3: 8}  # rectangles are multiples of this, so that examples of other sizes meet compiled ones
POSITIONS = 2**22  # of a batch, padding included
MAP_VALUES = 2**26  # of the class maps of a batch: 256 MiB
WASTE = 1.0  # an example goes into a compiled rectangle of up to this more than its own area on the grid

Wanted = frozenset[str]  # what is computed besides logits
CLASS_MAPS, EMBEDDINGS = "class_maps", "embeddings"


class Output(NamedTuple):
    """What was computed of one example.

    Attributes:
        position: in the source.
        logits: float32 [K]; None if the example could not be read.
        reason: why there are no logits.
        maps: float32 [*S', K] if class maps were wanted (see `fcnjax.heads.activation_maps`).
        embedding: float32 [C] if embeddings were wanted (see `fcnjax.heads.pooled_features`).
    """

    position: int
    logits: np.ndarray | None = None
    reason: str = ""
    maps: np.ndarray | None = None
    embedding: np.ndarray | None = None


class PlannedOutputs:
    """Runs a network over sources.

    Args:
        model: the network.
        max_buckets: rectangles that one call may compile, at least 1.
        batch_size: rows of a batch, at least 1.
        max_area: positions of the largest example, after the size policy of training, at least 1.
    """

    def __init__(self, model: Standalone, *, max_buckets: int, batch_size: int, max_area: int) -> None:
        self._model, self._network = model, model.network
        self._max_buckets, self._batch_size, self._max_area = max_buckets, batch_size, max_area
        self._mesh = make_mesh(jax.local_devices()[:1])
        self._arrays = jax.device_put((model.weights, model.statistics), replicated(self._mesh))
        data = dataclasses.replace(model.recipe.data, on_error="mask")  # a file that is damaged inside is named
        self._recipe = dataclasses.replace(model.recipe, data=data)
        self._functions: dict[Wanted, Any] = {}
        self._compiled: dict[Wanted, set[tuple[tuple[int, ...], int]]] = {}  # shapes and rows of the programs

    @property
    def network(self) -> Classifier:
        """The network."""
        return self._network

    @property
    def programs(self) -> int:
        """Number of programs that were compiled so far."""
        return sum(map(len, self._compiled.values()))

    def of(self, source: Source, wanted: Wanted = frozenset(), *, progress: bool = False) -> Iterator[Output]:
        """Yields what is computed of each example of a source, each once, in an order of its own.

        Args:
            source: examples of the channels of training, before the size policy of training.
            wanted: `CLASS_MAPS`, `EMBEDDINGS`, both or neither.
            progress: whether to show a bar.
        """
        refused = self._refused(source)
        yield from (Output(index, reason=reason) for index, reason in refused.items())
        rows = np.setdiff1d(np.arange(len(source)), list(refused))
        if not len(rows):
            return
        kept: Source = source if len(rows) == len(source) else PartialSource(source, rows, {})
        if self._recipe.size != SizePolicy():
            kept = ResizedSource(kept, self._recipe.size, self._network.min_size)
        with progress_bar(total=len(kept), title="predicting", unit=" examples", disable=not progress) as bar:
            for found in self._steps(kept, wanted):
                yield from (each._replace(position=int(rows[each.position])) for each in found)
                bar.update(len(found))

    def placed(self, source: Source, index: int, extent: tuple[int, ...]) -> tuple[np.ndarray, ...]:
        """Returns where the scores of a class map lie in an example, in its own positions before the size policy.

        Args:
            source: the examples.
            index: position in the source.
            extent: extents S' of the map.

        Returns:
            One array per axis.
        """
        native, minimum = source.sizes[index : index + 1], self._network.min_size
        content, size = (
            each(native, minimum)[0] for each in (self._recipe.size.content_sizes, self._recipe.size.sizes)
        )
        before, factors = (size - content) // 2, native[0] / content  # zeros of "pad" precede the content
        centers = self._network.map_centers(extent)
        return tuple((each - room) * by for each, room, by in zip(centers, before, factors, strict=True))

    def _refused(self, source: Source) -> dict[int, str]:
        """Returns why examples that are too small or too large are left out, by their positions."""
        policy, minimum = self._recipe.size, self._network.min_size
        content = policy.content_sizes(source.sizes, minimum)
        small = (content < policy.smallest(minimum)).any(axis=1) & (policy.below != "pad")
        large = areas(content) > self._max_area
        refused = {}
        for index in np.flatnonzero(small | large).tolist():
            limit = f"has more than max_area={self._max_area:,} positions"
            if small[index]:
                limit = f"is below the minimum of this network, {joined(policy.smallest(minimum).tolist())}"
            refused[index] = f"{size_words(source.sizes[index], content[index])} {limit}"
        extent = self._network.head.feature_extent
        if extent is None:
            return refused
        for index, size in enumerate(np.maximum(content, policy.smallest(minimum)).tolist()):
            if index not in refused and (found := self._network.feature_size(size)) != extent:
                words = size_words(source.sizes[index], np.array(size))
                refused[index] = f"{words} has {why_not(extent, joined(found))}"
        return refused

    def _steps(self, source: Source, wanted: Wanted) -> Iterator[list[Output]]:
        """Yields the outputs of each batch, read from the device while the next one is computed."""
        plan = EvaluationPlan(source.sizes, *self._buckets(source.sizes, wanted))
        feed, waiting = Feed(self._recipe, {"test": source}, self._mesh), None
        if wanted not in self._functions:
            function = _outputs_of(self._model.graphdef, wanted)
            self._functions[wanted] = jit(function, settings=CompileSettings.of(self._model.recipe))
        for step, batch in feed.batches("test", plan, 0, len(plan)):
            found = self._functions[wanted](*self._arrays, feed.inputs(batch)[0])
            self._compiled.setdefault(wanted, set()).add((step.shape, len(batch.ids)))
            if waiting is not None:
                yield _on_host(source, *waiting)
            waiting = step.rows, batch.ids >= 0, dict(batch.unreadable), found
        assert waiting is not None
        yield _on_host(source, *waiting)

    def _buckets(self, sizes: np.ndarray, wanted: Wanted) -> tuple[BucketPlan, list[int]]:
        """Returns rectangles for sizes [N, D], compiled ones where they fit well, and the rows of a batch of each."""
        compiled = self._compiled.get(wanted, ())
        known = np.array(sorted({shape for shape, _ in compiled}), np.int32).reshape(-1, sizes.shape[1])
        padded = np.where((sizes[:, None] <= known).all(axis=2), areas(known), np.inf).min(axis=1, initial=np.inf)
        grid = GRID[sizes.shape[1]]
        new = sizes[padded > (1 + WASTE) * areas(-(-sizes // grid) * grid)]
        if len(new):
            planned = plan_buckets(new, self._max_buckets, multiple_of=grid).shapes
            known = np.unique(np.concatenate([known, planned]), axis=0)
        counts = np.bincount(BucketPlan(known).assign(sizes), minlength=len(known))
        used = BucketPlan(BucketPlan(known).shapes[counts > 0])
        return used, [self._rows(*pair, wanted) for pair in zip(used.shapes, counts[counts > 0].tolist(), strict=True)]

    def _rows(self, shape: np.ndarray, count: int, wanted: Wanted) -> int:
        """Returns the rows of a batch of a rectangle for `count` examples: a power of 2, or all that are allowed."""
        most, extents = POSITIONS // int(shape.prod()), tuple(shape.tolist())
        if CLASS_MAPS in wanted:
            values = math.prod(self._network.feature_size(extents)) * len(self._model.classes)
            most = min(most, MAP_VALUES // values)
        most = max(1, min(self._batch_size, most))
        compiled = sorted(rows for known, rows in self._compiled.get(wanted, ()) if known == extents and rows >= count)
        return compiled[0] if compiled else min(most, 1 << (count - 1).bit_length())


def _outputs_of(graphdef: nnx.GraphDef[Classifier], wanted: Wanted) -> Callable[[Arrays, Arrays, Padded], Any]:
    """Returns the function from weights, statistics and a batch to what is wanted of it; logits are float32 [B, K]."""

    def outputs(weights: Arrays, statistics: Arrays, batch: Padded) -> dict[str, Any]:
        network = merge(graphdef, weights, statistics)
        features = network.features(batch)
        found: dict[str, Any] = {"logits": network.head(features).astype(jnp.float32)}
        if CLASS_MAPS in wanted:
            maps = activation_maps(network.head, features)
            found[CLASS_MAPS] = maps.values.astype(jnp.float32), maps.sizes
        if EMBEDDINGS in wanted:
            found[EMBEDDINGS] = pooled_features(network.head, features).astype(jnp.float32)
        return found

    return outputs


def _on_host(
    source: Source, rows: np.ndarray, real: np.ndarray, unreadable: dict[str, str], found: dict[str, Any]
) -> list[Output]:
    """Returns the outputs of the examples of a batch."""
    found = jax.tree.map(np.asarray, found)
    outputs = []
    for place in np.flatnonzero(rows >= 0).tolist():
        index = int(rows[place])
        if not real[place]:
            outputs.append(Output(index, reason=unreadable[source.name_of(index)]))
            continue
        output = Output(index, found["logits"][place])
        if CLASS_MAPS in found:
            values, sizes = found[CLASS_MAPS]
            inside = values[(place, *map(slice, sizes[place].tolist()))]
            output = output._replace(maps=inside.copy())  # a view would keep the whole batch
        if EMBEDDINGS in found:
            output = output._replace(embedding=found[EMBEDDINGS][place].copy())
        outputs.append(output)
    return outputs
