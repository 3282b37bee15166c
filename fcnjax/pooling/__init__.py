"""Global pools as monoids: exact under padding, in tiles, and across devices."""

from fcnjax.pooling.fixed import GeM, LogSumExp, Max, Mean, TopKMean
from fcnjax.pooling.learnable import Attention, AutoPool, LearnableLogSumExp
from fcnjax.pooling.monoid import Pool, Statistics, pool
from fcnjax.pooling.probabilistic import LinearSoftmax, NoisyOr
from fcnjax.pooling.registry import POOLS, create, multiply_adds

__all__ = [
    "POOLS",
    "Attention",
    "AutoPool",
    "GeM",
    "LearnableLogSumExp",
    "LinearSoftmax",
    "LogSumExp",
    "Max",
    "Mean",
    "NoisyOr",
    "Pool",
    "Statistics",
    "TopKMean",
    "create",
    "multiply_adds",
    "pool",
]
