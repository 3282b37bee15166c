"""The registered pools, how they are made by name, and what they cost."""

import inspect
from typing import Any

from flax import nnx

from fcnjax.naming import check_options, unknown_name
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
    """Returns the pool called `name` (a key of `POOLS`) with its options.

    Args:
        name: "mean", "max", "top_k", "logsumexp", "logsumexp_learnable", "gem", "attention", "auto", "noisy_or" or
            "linear_softmax".
        channels: C where the pool stands; pools that do not depend on it ignore it.
        rngs: source of initial weights; pools that draw none ignore it.
        **options: arguments of the pool's class, such as `r` or `heads`.

    Raises:
        ValueError: for an unknown name or option, with the nearest one, an option out of its range, or a pool that
            needs `channels` or `rngs` and does not get them.

    >>> create("attention", channels=8, rngs=nnx.Rngs(0), heads=2).kernel.shape
    (8, 2)
    """
    if name not in POOLS:
        raise ValueError(unknown_name("pool", name, POOLS))
    kind = POOLS[name]
    check_options(f"option of pool {name!r}:", options, kind.__init__)
    needed = inspect.signature(kind.__init__).parameters
    given = {key: value for key, value in (("channels", channels), ("rngs", rngs)) if key in needed}
    missing = [key for key, value in given.items() if value is None]
    if missing:
        raise ValueError(f"{missing[0]}=None of pool {name!r}: its weights need {' and '.join(given)}.")
    return kind(**given, **options)


def multiply_adds(how: Pool, positions: int, channels: int) -> int:
    """Returns the multiply-adds per example of a pool: one for each value, and the products of a learned score.

    Args:
        how: the pool.
        positions: number of positions that are pooled.
        channels: C.
    """
    scores = how.kernel.size if isinstance(how, Attention) else 0
    return positions * (channels + scores)
