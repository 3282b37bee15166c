"""Simulated pairs of arms, whose true difference is known, like those measured on digits.

`even` is like heads that differ little: 1.6 % of the digits get another answer, independently in every run. `lopsided` is
like a head with a systematic weakness: on a few hard digits one arm is wrong most of the time, in all runs.
"""

import numpy as np

from fcnjax.lab.observations import ContrastValues

HARD = 0.04  # share of hard examples of `lopsided`
LOPSIDED_MEAN = -0.5 * HARD


def drawn(rng: np.random.Generator, examples: int, seeds: int, folds: int) -> tuple[np.ndarray, np.ndarray]:
    """Returns the example and the run of each value: every example once per seed, a new partition per seed."""
    fold = [rng.permutation(np.arange(examples) % folds) for _ in range(seeds)]
    return np.tile(np.arange(examples), seeds), np.concatenate([seed * folds + each for seed, each in enumerate(fold)])


def even(
    rng: np.random.Generator, examples: int = 1597, seeds: int = 3, folds: int = 5, mean: float = 0.0
) -> ContrastValues:
    """Returns differences of correctness with the true mean `mean`, and a small effect of the run."""
    example, run = drawn(rng, examples, seeds, folds)
    lean = mean + 0.003 * rng.uniform(-1, 1, seeds * folds)[run]
    return ContrastValues(_signs(rng, (0.016 + lean) / 2, (0.016 - lean) / 2), example, run)


def lopsided(rng: np.random.Generator, examples: int = 1597, seeds: int = 3, folds: int = 5) -> ContrastValues:
    """Returns differences of correctness with the true mean `LOPSIDED_MEAN`, due to hard examples."""
    example, run = drawn(rng, examples, seeds, folds)
    hard = (rng.random(examples) < HARD)[example]
    worse = 0.6 + 0.1 * rng.uniform(-1, 1, seeds * folds)[run]
    return ContrastValues(_signs(rng, np.where(hard, 0.1, 0.005), np.where(hard, worse, 0.005)), example, run)


def constant(disagreeing: int, examples: int, seeds: int = 3, folds: int = 5) -> ContrastValues:
    """Returns differences that are 1 for some examples in all runs, and 0 for the others."""
    example, run = drawn(np.random.default_rng(0), examples, seeds, folds)
    return ContrastValues((example < disagreeing).astype(np.float64), example, run)


def _signs(rng: np.random.Generator, up: np.ndarray, down: np.ndarray) -> np.ndarray:
    """Returns 1 with probability `up`, -1 with probability `down`, and 0 otherwise."""
    uniform = rng.random(len(up))
    return (uniform < up).astype(np.float64) - (uniform > 1 - down)


def most_by_chance(rate: float, repetitions: int) -> float:
    """Returns the largest share that events of this rate have, but for one test in a thousand."""
    return rate + 3.1 * np.sqrt(rate * (1 - rate) / repetitions)
