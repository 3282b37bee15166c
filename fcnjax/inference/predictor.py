"""Predictions, class maps and embeddings of a network that stands alone, for examples of any sizes.

Axes: N examples, K classes, F features.
"""

import itertools
import os
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from PIL import Image

from fcnjax.data import Source, UnreadableExample
from fcnjax.heads import MapKind, are_probabilities, kind_of_maps
from fcnjax.inference.example_maps import ExampleMaps
from fcnjax.inference.inputs import Inputs, Item, item_name
from fcnjax.inference.planned_outputs import CLASS_MAPS, EMBEDDINGS, Output, PlannedOutputs
from fcnjax.inference.prediction import Prediction
from fcnjax.models import Classifier
from fcnjax.training.standalone import Standalone, read_model

AT_ONCE = 512  # items of a generator that are predicted together
MAX_AREA = 2**24  # 4096 x 4096


class Result(NamedTuple):
    """The results of one item.

    Attributes:
        position: of the item in the list.
        prediction: None for an item without one.
        reason: why it has none.
        maps: its class maps, if they were wanted.
        embedding: float32 [F], its pooled features, if they were wanted.
    """

    position: int
    prediction: Prediction | None
    reason: str = ""
    maps: ExampleMaps | None = None
    embedding: np.ndarray | None = None


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
        self._outputs = PlannedOutputs(model, max_buckets=max_buckets, batch_size=batch_size, max_area=max_area)

    @property
    def network(self) -> Classifier:
        """The network itself, for inputs [B, *S, C] from which mean and deviation are taken out."""
        return self._outputs.network

    @property
    def programs(self) -> int:
        """Number of programs that were compiled so far."""
        return self._outputs.programs

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
        found: list[Prediction | None] = [None] * len(items)
        reasons: dict[int, str] = {}
        inputs = Inputs(items, self.model, progress=progress)
        for result in self._results(inputs, frozenset(), progress):
            found[result.position] = result.prediction
            if result.prediction is None:
                reasons[result.position] = result.reason
        return found, {inputs.item_names[position]: reasons[position] for position in sorted(reasons)}

    def class_maps(self, items: Sequence[Item]) -> list[ExampleMaps]:
        """Returns what the network says of the positions of each item; see `maps_kind` for what these are.

        Args:
            items: paths of files, Pillow images, or arrays.

        Raises:
            UnreadableExample: if a file cannot be read; the message names it.
            ValueError: if the head of the network has no such maps, or an array is not such as in training.
            TypeError: if an item is of another type.
        """
        return [result.maps for result in self._read(items, class_maps=True) if result.maps is not None]

    def embeddings(self, items: Sequence[Item]) -> np.ndarray:
        """Returns the pooled features of each item, float32 [N, F] (see `fcnjax.heads.pooled_features`).

        Args and errors: as for `class_maps`, which all heads have.
        """
        found = [result.embedding for result in self._read(items, embeddings=True) if result.embedding is not None]
        return np.stack(found) if found else np.zeros((0, self.network.feature_channels), np.float32)

    @property
    def maps_kind(self) -> MapKind:
        """Which maps `class_maps` returns.

        Raises:
            ValueError: if the head of the network has none.
        """
        return kind_of_maps(self.network.head)

    def results(
        self, items: Sequence[Item], *, class_maps: bool = False, embeddings: bool = False, progress: bool = False
    ) -> Iterator[Result]:
        """Yields everything that is wanted of each item, each once, in the order in which it is computed.

        Files are decoded once, and one batch at a time is in memory.

        Args:
            items: paths of files, Pillow images, or arrays.
            class_maps: whether class maps are wanted.
            embeddings: whether embeddings are wanted.
            progress: whether to show bars with rate and time left.

        Raises:
            ValueError: if an array is not such as in training, or the head has no class maps.
            TypeError: if an item is of another type.
        """
        if class_maps:
            assert self.maps_kind  # refuses heads without maps
        wanted = [name for name, asked in ((CLASS_MAPS, class_maps), (EMBEDDINGS, embeddings)) if asked]
        return self._results(Inputs(items, self.model, progress=progress), frozenset(wanted), progress)

    def scores(self, source: Source, *, progress: bool = False) -> tuple[np.ndarray, dict[str, str]]:
        """Returns the logits of all examples of a source.

        Args:
            source: examples of the channels of training, before the size policy of training.
            progress: whether to show a bar.

        Returns:
            float32 [N, K] in the order of the source, NaN for an example without a prediction; and why, by name.
        """
        logits, refused = np.full((len(source), len(self.classes)), np.nan, np.float32), {}
        for output in self._outputs.of(source, progress=progress):
            if output.logits is None:
                refused[source.name_of(output.position)] = output.reason
            else:
                logits[output.position] = output.logits
        return logits, refused

    def _results(self, inputs: Inputs, wanted: frozenset[str], progress: bool) -> Iterator[Result]:
        yield from (Result(position, None, reason) for position, reason in inputs.refused.items())
        if not len(inputs):
            return
        for output in self._outputs.of(inputs, wanted, progress=progress):
            position, logits = int(inputs.kept[output.position]), output.logits
            if logits is None or not np.isfinite(logits).all():
                yield Result(position, None, output.reason or "its logits are not finite")
                continue
            prediction = Prediction(logits, self.classes, inputs.file_of(output.position))
            maps = None if output.maps is None else self._maps(inputs, output, prediction)
            yield Result(position, prediction, "", maps, output.embedding)

    def _maps(self, inputs: Inputs, output: Output, prediction: Prediction) -> ExampleMaps:
        assert output.maps is not None
        return ExampleMaps(
            maps=output.maps,
            centers=self._outputs.placed(inputs, output.position, output.maps.shape[:-1]),
            size=tuple(inputs.sizes[output.position].tolist()),
            prediction=prediction,
            kind=self.maps_kind,
            unit="probability" if are_probabilities(self.network.head) else "score",
            read=lambda extents: inputs.read(output.position, extents).values,
            values=self.model.values,
            rate=inputs.rate_of(output.position),
        )

    def _read(self, items: Sequence[Item], **wanted: bool) -> list[Result]:
        """Returns the results of items in their order; raises for the first one that cannot be read."""
        results = sorted(self.results(items, **wanted), key=lambda result: result.position)
        for result in results:
            if result.prediction is None:
                raise UnreadableExample(item_name(items[result.position], result.position), result.reason)
        return results

    def _all(self, items: Sequence[Item]) -> list[Prediction]:
        return [result.prediction for result in self._read(items) if result.prediction is not None]

    def _each(self, items: Iterable[Item]) -> Iterator[Prediction]:
        waiting = iter(items)
        while some := list(itertools.islice(waiting, AT_ONCE)):
            yield from self._all(some)
