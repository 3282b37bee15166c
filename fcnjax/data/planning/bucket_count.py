"""The search on tables of three resolutions, and the number of rectangles that a price makes best.

Axes: n distinct sizes, D spatial axes, K rectangles. The one idea: what a rectangle saves falls with every further one,
so the best number lies near that of a cheap guess, and only its neighbors need the full search.
"""

from collections.abc import Callable
from functools import cache, cached_property

import numpy as np

from fcnjax.data.planning.bucket_search import (
    area_groups,
    exact_intervals,
    greedy_buckets,
    greedy_levels,
    improve,
    move_edges,
    padded_area,
    shrink,
)
from fcnjax.data.size_table import areas, coarsened

# More distinct sizes than this are put on a coarser grid first: the search is quadratic in them.
MOST_DISTINCT = {1: 6000, 2: 1500, 3: 1000}
FEW_DISTINCT = 250  # one more search starts from what is best on a grid as coarse as this
FINE_DISTINCT = 20_000  # the last moves of the edges see this many
PATIENCE = 3  # numbers of rectangles in a row, no better than the best so far, after which none is expected


class LayeredSearch:
    """Rectangles for one table of sizes: exact for D = 1; else searched on coarse grids, settled on finer ones.

    Args:
        distinct: int64 [n, D], distinct sizes in lexicographic order.
        counts: int64 [n], how many examples have each.
    """

    def __init__(self, distinct: np.ndarray, counts: np.ndarray):
        self.distinct, self.counts = distinct, counts

    def rectangles(self, count: int) -> np.ndarray:
        """Int [K, D] with K at most `count`, each the bounding box of what it holds."""
        if len(self.distinct) <= count:
            return self.distinct
        sizes, weights = self._middle
        if sizes.shape[1] == 1:
            return shrink(self.distinct, exact_intervals(sizes, weights, min(count, len(sizes)))[-1])
        few = self._few
        starts = [improve(*few, start(*few, count)) for start in (greedy_buckets, area_groups)]
        starts = [min(starts, key=lambda start: padded_area(*few, start))]
        if len(few[0]) < len(sizes):
            starts += [start(sizes, weights, count) for start in (greedy_buckets, area_groups)]
        ends = [improve(sizes, weights, start) for start in starts]
        best = min(ends, key=lambda end: padded_area(sizes, weights, end))
        return shrink(self.distinct, move_edges(*self._fine, best))

    def cheapest(self, most: int, price: float) -> np.ndarray:
        """Like `rectangles`, for the number of them from 1 to `most` that costs least.

        Args:
            most: At least 1.
            price: Of each rectangle, in padded positions, at least 0.

        Returns:
            int [K, D] with K at most `most`.
        """
        most = min(most, len(self.distinct))
        if self.distinct.shape[1] == 1:
            sizes, weights = self._middle
            found = [shrink(self.distinct, level) for level in exact_intervals(sizes, weights, min(most, len(sizes)))]
            return min(found, key=lambda shapes: self._cost(shapes) + price * len(shapes))
        few, rectangles = self._few, cache(self.rectangles)
        levels = list(greedy_levels(*few, most))[::-1]
        guesses = [padded_area(*few, level) for level in levels] + price * np.arange(1, len(levels) + 1)
        begin, patience = 1 + int(guesses.argmin()), PATIENCE
        if len(few[0]) < len(self.distinct):  # a full search is dear: come nearer by searches on the coarsest grid

            def coarse_cost(count: int) -> float:
                return padded_area(*few, improve(*few, levels[count - 1]))

            begin = cheapest_count(coarse_cost, begin, float(areas(few[0]) @ few[1]), price, len(levels), PATIENCE)
            patience = 1
        least = float(areas(self.distinct) @ self.counts)
        return rectangles(
            cheapest_count(lambda count: self._cost(rectangles(count)), begin, least, price, most, patience)
        )

    def _cost(self, shapes: np.ndarray) -> float:
        return padded_area(self.distinct, self.counts, shapes)

    @cached_property
    def _few(self) -> tuple[np.ndarray, np.ndarray]:
        return coarsened(self.distinct, self.counts, FEW_DISTINCT)

    @cached_property
    def _middle(self) -> tuple[np.ndarray, np.ndarray]:
        return coarsened(self.distinct, self.counts, MOST_DISTINCT[self.distinct.shape[1]])

    @cached_property
    def _fine(self) -> tuple[np.ndarray, np.ndarray]:
        return coarsened(self.distinct, self.counts, FINE_DISTINCT)


def cheapest_count(
    cost: Callable[[int], float], begin: int, least: float, price: float, most: int, patience: int
) -> int:
    """The number K from 1 to `most` for which `cost(K) + price * K` is least, found with few calls of `cost`.

    Args:
        cost: What K rectangles cost, falling in K; slow.
        begin: A guess of K, from 1 to `most`.
        least: What no number of them can cost less than.
        price: Of each rectangle, at least 0.
        most: At least 1.
        patience: Numbers in a row, no better than the best so far, that end the search for more or for fewer.

    Returns:
        K. It can miss the optimum only behind `patience` numbers in a row that are no better.
    """
    cost, best = cache(cost), begin
    total = cost(best) + price * best
    for numbers, fewer in ((range(begin + 1, most + 1), False), (range(begin - 1, 0, -1), True)):
        misses = 0
        for count in numbers:
            # All that follow are at least as dear as this: no better number can come.
            bound = cost(count + 1) + price if fewer else least + price * count
            if misses == patience or bound >= total:
                break
            here = cost(count) + price * count
            misses += 1
            if here < total:
                best, total, misses = count, here, 0
    return best
