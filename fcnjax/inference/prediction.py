"""What a network says of one example. Axes: K classes."""

import dataclasses
from functools import cached_property

import numpy as np

from fcnjax.naming import printable


@dataclasses.dataclass(frozen=True, eq=False)
class Prediction:
    """The scores of one example.

    Attributes:
        logits: float32 [K], scores before the softmax.
        classes: K names.
        name: name of the example, such as its file; empty if it has none.
    """

    logits: np.ndarray
    classes: tuple[str, ...]
    name: str = ""

    @cached_property
    def probabilities(self) -> np.ndarray:
        """Softmax of the logits, float64 [K]."""
        shifted = np.exp(self.logits.astype(np.float64) - self.logits.max())
        return shifted / shifted.sum()

    @property
    def label(self) -> int:
        """Class with the largest logit, the first one of equal logits."""
        return int(self.logits.argmax())

    @property
    def class_name(self) -> str:
        """Name of that class."""
        return self.classes[self.label]

    @property
    def probability(self) -> float:
        """Probability of that class."""
        return float(self.probabilities[self.label])

    def top(self, count: int = 5) -> list[tuple[str, float]]:
        """Returns names and probabilities of the most probable classes, at most K.

        Args:
            count: number of classes, at least 1.

        Raises:
            ValueError: if `count` is below 1.
        """
        if count < 1:
            raise ValueError(f"count={count}: must be at least 1.")
        order = np.argsort(-self.logits, kind="stable")[:count]
        return [(self.classes[index], float(self.probabilities[index])) for index in order]

    def __str__(self) -> str:
        """Returns the name, if there is one, and the most probable class."""
        what = f"{printable(self.class_name)} ({self.probability:.1%})"
        return f"{printable(self.name)}: {what}" if self.name else what
