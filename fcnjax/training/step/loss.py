"""Losses of training: cross-entropy with smoothed labels and weighted classes.

Axes: B batch, K classes. The one idea: a loss returns each example's term of a sum, and `ExampleWeights` returns its
term of the divisor. The mean over a batch, over the parts of a step and over mixtures of two examples is then one
formula. A weight of the example itself (`Source.weights`) multiplies both terms.
"""

from collections.abc import Callable, Sequence

import jax
import jax.numpy as jnp
import numpy as np
import optax

from fcnjax.data import Source
from fcnjax.training.settings.learning_settings import BALANCED, LossSettings

Loss = Callable[[jax.Array, jax.Array], jax.Array]  # logits [B, K], labels [B] -> loss of each example [B]
ExampleWeights = Callable[[jax.Array], jax.Array]  # labels [B] -> weight of each example in the mean [B]


def cross_entropy(logits: jax.Array, labels: jax.Array) -> jax.Array:
    """Returns softmax cross-entropy [B] of logits (or log-probabilities) [B, K] and labels [B]."""
    return optax.softmax_cross_entropy_with_integer_labels(logits, labels)


def make_loss(label_smoothing: float = 0.0, class_weights: Sequence[float] | None = None) -> Loss:
    """Returns cross-entropy against smoothed labels, with the term of each class multiplied by its weight.

    With smoothing e, class weights w and log-probabilities z, the loss of an example of class y is `-(1 - e) * w[y] *
    z[y] - e / K * sum_k w[k] * z[k]`, and the mean divides by the sum of `w[y]` (see `make_example_weights`), like
    PyTorch's `CrossEntropyLoss(weight=w, label_smoothing=e)`. Without smoothing and weights, the result is
    `cross_entropy`.

    Args:
        label_smoothing: e, in [0, 1).
        class_weights: w [K], each greater than 0; None: 1 for all.

    Source: Szegedy et al., "Rethinking the Inception Architecture for Computer Vision", 2016, section 7.
    """
    if class_weights is None and not label_smoothing:
        return cross_entropy
    if class_weights is None:
        return lambda logits, labels: optax.softmax_cross_entropy(logits, _smoothed(logits, labels, label_smoothing))
    weights = np.asarray(class_weights, np.float32)

    def loss(logits: jax.Array, labels: jax.Array) -> jax.Array:
        return optax.softmax_cross_entropy(logits, weights[None] * _smoothed(logits, labels, label_smoothing))

    return loss


def _smoothed(logits: jax.Array, labels: jax.Array, label_smoothing: float) -> jax.Array:
    """Returns the smoothed targets [B, K] of labels [B]."""
    return optax.smooth_labels(jax.nn.one_hot(labels, logits.shape[-1], dtype=logits.dtype), label_smoothing)


def make_example_weights(class_weights: Sequence[float] | None) -> ExampleWeights | None:
    """Returns the function from labels to the weights of their classes; None if all weights are equal."""
    if class_weights is None:
        return None
    weights = np.asarray(class_weights, np.float32)
    return lambda labels: jnp.asarray(weights)[labels]


def class_weights_of(settings: LossSettings, train: Source) -> tuple[float, ...] | None:
    """Returns the weight of each class [K] that the settings ask for; None if all weights are equal.

    Args:
        settings: `class_weights` is None, K numbers, or "balanced": N / (K * examples of the class).
        train: the N training examples; their labels are counted.

    Raises:
        ValueError: if the number of weights is not K; with "balanced", if a class does not have an example or the
            source does not have labels.
    """
    weights, names, field = settings.class_weights, train.class_names, "config.loss.class_weights"
    if weights is None:
        return None
    if weights != BALANCED:
        if len(weights) != len(names):
            raise ValueError(f"{field}={weights}: must have one number for each of the {len(names)} classes.")
        return tuple(map(float, weights))
    labels = train.labels
    if labels is None:
        raise ValueError(
            f"{field}={BALANCED!r}: the source does not know the labels of its examples; give it an attribute labels "
            "[N], or give one weight per class."
        )
    counts = np.bincount(labels, minlength=len(names))
    if not counts.all():
        raise ValueError(
            f"{field}={BALANCED!r}: class {names[int(np.argmin(counts))]!r} does not have a training example; "
            "give one weight per class."
        )
    return tuple((len(labels) / (len(names) * counts)).tolist())
