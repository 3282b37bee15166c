"""The registry of global pools: names, construction by name, and cost."""

import inspect
from typing import Any

from flax import nnx

from fcnjax.naming import check_name, check_options
from fcnjax.pooling.fixed import GeM, LogSumExp, Max, Mean, TopKMean
from fcnjax.pooling.learnable import Attention, AutoPool, LearnableLogSumExp
from fcnjax.pooling.monoid import Pool
from fcnjax.pooling.probabilistic import LinearSoftmax, NoisyOr

POOLS: dict[str, type[Pool]] = {
    "mean": Mean,
    "max": Max,
    "top_k": TopKMean,
    "logsumexp": LogSumExp,
    "logsumexp_learnable": LearnableLogSumExp,
    "gem": GeM,
    "attention": Attention,
    "auto": AutoPool,
    "noisy_or": NoisyOr,
    "linear_softmax": LinearSoftmax,
}


def create(name: str, *, channels: int | None = None, rngs: nnx.Rngs | None = None, **options: Any) -> Pool:
    """Returns the pool that `POOLS` lists under `name`.

    Args:
        name: "mean", "max", "top_k", "logsumexp", "logsumexp_learnable", "gem", "attention", "auto", "noisy_or" or
            "linear_softmax".
        channels: channels C of the features, at least 1; needed by "attention" and "auto", ignored by the others.
        rngs: source of the initial weights; needed by "attention", ignored by the others.
        **options: arguments of the pool's class, such as `r` or `heads`.

    Raises:
        ValueError: if the name or an option is unknown (the message names the nearest one), an option is out of range,
            or `channels` or `rngs` is None and the pool needs it.

    >>> create("attention", channels=8, rngs=nnx.Rngs(0), heads=2).kernel.shape
    (8, 2)
    """
    check_name("pool", name, POOLS)
    kind = POOLS[name]
    check_options(f"option of pool {name!r}:", options, kind.__init__)
    needed = inspect.signature(kind.__init__).parameters
    given = {key: value for key, value in (("channels", channels), ("rngs", rngs)) if key in needed}
    missing = [key for key, value in given.items() if value is None]
    if missing:
        raise ValueError(f"{missing[0]}=None of pool {name!r}: must be set; its weights need {' and '.join(given)}.")
    return kind(**given, **options)


def multiply_adds(how: Pool, positions: int, channels: int) -> int:
    """Returns the multiply-adds per example of a pool: one per value, and those of the scores of `Attention`.

    Args:
        how: the pool.
        positions: number of pooled positions, at least 0.
        channels: channels C of the features.
    """
    scores = how.kernel.size if isinstance(how, Attention) else 0
    return positions * (channels + scores)
