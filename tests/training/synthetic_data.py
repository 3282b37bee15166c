"""Small synthetic data and recipes: two buckets, three classes, networks that compile in a moment."""

from typing import Any

import jax.numpy as jnp
import numpy as np

from fcnjax.data import ArraySource, Source, UnreadableExample
from fcnjax.training import Recipe
from fcnjax.training.step.step import TrainState

SMALL, LARGE = ((8, 10), (9, 8), (10, 10)), ((14, 18), (16, 13), (16, 16))
CLASSES = 3
COUNTS = {"train": 21, "validation": 9, "test": 11}  # not multiples of 8, so there are filler rows


def make_examples(count: int, seed: int) -> tuple[list[np.ndarray], list[int]]:
    """Noise with a brightness that depends on the class; small and large sizes alternate."""
    rng = np.random.default_rng(seed)
    sizes = [(SMALL, LARGE)[i % 2][i // 2 % 3] for i in range(count)]
    labels = rng.integers(CLASSES, size=count).tolist()
    return [
        (rng.normal(size=(*size, 1)) + label).astype(np.float32) for size, label in zip(sizes, labels, strict=True)
    ], labels


def make_sources() -> dict[str, ArraySource]:
    names = tuple("abc")
    return {
        split: ArraySource(*make_examples(count, seed), class_names=names)
        for seed, (split, count) in enumerate(COUNTS.items())
    }


def make_recipe(**changes: Any) -> Recipe:
    """A tiny recipe; a dictionary changes fields of a group, and any other value replaces a field."""
    config: dict[str, Any] = {
        "data": {"name": "synthetic"},
        "model": {"channels": [4, 4], "activation": "relu"},
        "optimizer": {"name": "adamw", "learning_rate": 5e-3, "warmup": 0.1, "weight_decay": 0.1},
        "epochs": 3,
        "batch_size": 8,
        "max_buckets": 2,
    }
    for name, value in changes.items():
        config[name] = {**config.get(name, {}), **value} if isinstance(value, dict) else value
    return Recipe.from_config(config)


def relative(actual: Any, expected: Any) -> float:
    """Largest difference over the largest expected value."""
    actual, expected = np.asarray(actual, np.float64), np.asarray(expected, np.float64)
    assert actual.shape == expected.shape
    return float(np.abs(actual - expected).max() / np.abs(expected).max())


def randomized(state: TrainState) -> TrainState:
    """Randomizes weights, biases and running statistics: with initial ones, most errors are exactly 0."""
    rng = np.random.default_rng(0)

    def draw(name, array):
        drawn = jnp.asarray(rng.normal(size=array.shape).astype(np.float32))
        return jnp.abs(drawn) + 0.5 if name.endswith("variance") else drawn

    arrays = ({name: draw(name, array) for name, array in d.items()} for d in (state.weights, state.statistics))
    return TrainState(state.step, *arrays, state.optimizer)


class Damaged(Source):
    """A source in which some examples cannot be decoded."""

    def __init__(self, source, damaged):
        self._source, self.damaged = source, damaged
        self.sizes, self.ids = source.sizes, source.ids
        self.class_names, self.channels, self.labels = source.class_names, source.channels, source.labels

    def __len__(self):
        return len(self._source)

    def __getitem__(self, index):
        if index in self.damaged:
            raise UnreadableExample(f"example {index}", "is damaged")
        return self._source[index]


def draw_logits(
    count: int, classes: int, seed: int = 0, scale: float = 3.0
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Logits that correlate with the labels, the labels, and sizes with ties."""
    rng = np.random.default_rng(seed)
    labels = rng.integers(classes, size=count)
    logits = rng.normal(size=(count, classes)) * scale
    logits[np.arange(count), labels] += scale
    return logits.astype(np.float32), labels, rng.integers(4, 12, size=(count, 2))
