"""The search behind `plan_buckets`: greedy merging and local search over rectangles; exact for intervals.

Axes: n distinct sizes, D spatial axes, K rectangles, M candidate rectangles. The one idea: with rectangle k taken away,
each size has a cheapest other home `rest` [n]; a candidate for k then costs `sum(counts * min(rest, area if it fits))`,
so all candidates for one place are judged by one matrix [M, n].
"""

from itertools import combinations, product

import numpy as np

from fcnjax.data.size_table import coarsened

# The search is quadratic in the distinct sizes: above these numbers it sees them on a coarser grid.
MAX_DISTINCT = {1: 6000, 2: 1500, 3: 1000}  # by the number of axes
COARSE_DISTINCT = 250  # one more search starts from the best shapes on a grid as coarse as this
FINE_DISTINCT = 20_000  # the last moves of the edges see this many
UNCOVERED = np.inf
CANDIDATES_AT_ONCE = 256
PAIRS = 12  # pairs of rectangles that are tried as one, per sweep
INSERTIONS = 6  # places that are tried for the rectangle which this frees, per pair
DESCENTS = 4  # of all these outcomes, how many are followed by moving edges
ROUNDING = 1e-12  # of a total: no gain


def search_shapes(distinct: np.ndarray, counts: np.ndarray, max_buckets: int) -> np.ndarray:
    """Returns the shapes of the buckets: exact for D = 1; else searched on coarse grids, settled on finer ones.

    Args:
        distinct: int64 [n, D], distinct sizes in lexicographic order.
        counts: int64 [n], how many examples have each.
        max_buckets: K, at least 1.

    Returns:
        int [K', D] with K' at most K, each the bounding box of what it holds.
    """
    if len(distinct) <= max_buckets:
        return distinct
    sizes, weights = coarsened(distinct, counts, MAX_DISTINCT[distinct.shape[1]])
    if distinct.shape[1] == 1:
        return shrink(distinct, exact_intervals(sizes, weights, min(max_buckets, len(sizes))))

    def best(sizes: np.ndarray, weights: np.ndarray, starts: list[np.ndarray]) -> np.ndarray:
        ends = [improve(sizes, weights, start) for start in starts]
        return min(ends, key=lambda shapes: padded_area(sizes, weights, shapes))

    coarse = coarsened(distinct, counts, COARSE_DISTINCT)
    starts = [best(*coarse, [start(*coarse, max_buckets) for start in (greedy_buckets, area_groups)])]
    if len(coarse[0]) < len(sizes):
        starts += [start(sizes, weights, max_buckets) for start in (greedy_buckets, area_groups)]
    shapes = best(sizes, weights, starts)
    return shrink(distinct, move_edges(*coarsened(distinct, counts, FINE_DISTINCT), shapes))


def greedy_buckets(sizes: np.ndarray, counts: np.ndarray, rectangles: int) -> np.ndarray:
    """Merges the two groups whose common bounding box costs least more, until few enough are left.

    Args:
        sizes: int [n, D], distinct sizes.
        counts: [n], how many examples have each.
        rectangles: K, the number of groups to keep.

    Returns:
        int64 [K, D], bounding boxes of the groups; all sizes where there are no more than K.
    """
    boxes = sizes.astype(np.float64)  # [n, D]
    counts = counts.astype(np.float64)  # [n]
    costs = counts * boxes.prod(axis=1)  # [n]
    alive = np.ones(len(boxes), bool)

    def merge_costs(group: int) -> np.ndarray:
        joint = np.maximum(boxes, boxes[group]).prod(axis=1)
        added = (counts + counts[group]) * joint - costs - costs[group]
        added[group] = np.inf
        return np.where(alive, added, np.inf)

    added = np.stack([merge_costs(group) for group in range(len(boxes))])  # [n, n]
    best = added.argmin(axis=1)  # [n], the partner of least added cost
    best_cost = added.min(axis=1)
    for _ in range(len(boxes) - rectangles):
        group = int(best_cost.argmin())
        gone = int(best[group])
        boxes[group] = np.maximum(boxes[group], boxes[gone])
        counts[group] += counts[gone]
        costs[group] = counts[group] * boxes[group].prod()
        alive[gone] = False
        best_cost[gone] = np.inf
        added[:, gone] = np.inf
        added[gone] = np.inf
        added[group] = merge_costs(group)
        added[:, group] = added[group]
        closer = alive & (added[group] < best_cost)
        best[closer], best_cost[closer] = group, added[group][closer]
        for stale in np.flatnonzero(alive & ((best == group) | (best == gone)) & ~closer):
            best[stale] = added[stale].argmin()
            best_cost[stale] = added[stale, best[stale]]
        best[group] = added[group].argmin()
        best_cost[group] = added[group, best[group]]
    return boxes[alive].astype(np.int64)


def exact_intervals(sizes: np.ndarray, counts: np.ndarray, most: int) -> np.ndarray:
    """The optimal lengths for D = 1, by dynamic programming over the sorted sizes: O(K n^2) in numpy.

    Args:
        sizes: int [n, 1], distinct and increasing.
        counts: [n], how many examples have each.
        most: K, how many lengths, 1 to n.

    Returns:
        int64 [K, 1], increasing.

    Source: Jenks' natural breaks (W. D. Fisher, JASA 53, 1958) with padded length in place of variance.
    """
    lengths = sizes[:, 0].astype(np.float64)  # [n]
    below = np.concatenate([[0.0], np.cumsum(counts)])  # [n + 1], examples among the first i sizes
    cost = np.append(0.0, np.full(len(lengths), np.inf))  # [n + 1], of the first i sizes in the lengths chosen so far
    cuts = np.zeros((most, len(lengths) + 1), np.int64)
    for count in range(most):
        previous, cost = cost, np.full_like(cost, np.inf)
        for end in range(count + 1, len(lengths) + 1):
            totals = previous[:end] + lengths[end - 1] * (below[end] - below[:end])
            cuts[count, end] = totals.argmin()
            cost[end] = totals[cuts[count, end]]
    ends = [len(lengths)]
    for count in range(most - 1, 0, -1):
        ends.append(int(cuts[count, ends[-1]]))
    return sizes[np.array(ends[::-1]) - 1].astype(np.int64)


def area_groups(sizes: np.ndarray, counts: np.ndarray, groups: int) -> np.ndarray:
    """The usual way: sizes sorted by area and cut into groups of about equally many examples.

    Args:
        sizes: int [n, D], distinct sizes.
        counts: [n], how many examples have each.
        groups: K, at least 1.

    Returns:
        int64 [K', D] with K' at most K, bounding boxes of the groups.
    """
    order = np.argsort(sizes.prod(axis=1), kind="stable")
    position = np.cumsum(counts[order]) - counts[order]  # [n], of the first example of each size
    group = (position * groups // counts.sum()).astype(np.int64)
    boxes = np.zeros((groups, sizes.shape[1]), np.int64)
    np.maximum.at(boxes, group, sizes[order])
    return boxes[boxes.all(axis=1)]


def improve(sizes: np.ndarray, counts: np.ndarray, rectangles: np.ndarray, sweeps: int = 12) -> np.ndarray:
    """Local search: moves edges, and merges two rectangles to place a third anew, while the padded area falls.

    Args:
        sizes: int [n, D], distinct sizes; each must fit a rectangle.
        counts: [n], how many examples have each.
        rectangles: int [K, D], the start.
        sweeps: Most passes over all moves.

    Returns:
        int64 [K', D] with K' at most K: never worse than the start, each the bounding box of what it holds.
    """
    sizes, counts = sizes.astype(np.int64), counts.astype(np.float64)
    rectangles = shrink(sizes, rectangles.astype(np.int64))
    for _ in range(sweeps):
        before = padded_area(sizes, counts, rectangles)
        rectangles = move_edges(sizes, counts, rectangles)
        rectangles = _swap(sizes, counts, rectangles)
        if padded_area(sizes, counts, rectangles) >= before:
            break
    return rectangles


def padded_area(sizes: np.ndarray, counts: np.ndarray, rectangles: np.ndarray) -> float:
    """Positions that all examples take when each goes to its cheapest rectangle; inf where one fits none."""
    return float((counts * _home_areas(sizes, rectangles).min(axis=0)).sum())


def _home_areas(sizes: np.ndarray, rectangles: np.ndarray) -> np.ndarray:
    """[K, n]: the area that a size costs in each rectangle, inf where it does not fit."""
    fits = np.ones((len(rectangles), len(sizes)), bool)
    for axis in range(sizes.shape[1]):
        fits &= sizes[:, axis] <= rectangles[:, axis, None]
    return np.where(fits, rectangles.prod(axis=1)[:, None].astype(np.float64), UNCOVERED)


def shrink(sizes: np.ndarray, rectangles: np.ndarray) -> np.ndarray:
    """The bounding boxes of what each rectangle holds, repeated until nothing changes; empty rectangles go.

    Args:
        sizes: int [n, D]; each must fit a rectangle.
        rectangles: int [K, D].

    Returns:
        int [K', D] with K' at most K.
    """
    while True:
        homes = _home_areas(sizes, rectangles).argmin(axis=0)  # [n]
        boxes = np.zeros_like(rectangles)
        np.maximum.at(boxes, homes, sizes)
        boxes = np.unique(boxes[boxes.all(axis=1)], axis=0)
        if boxes.shape == rectangles.shape and (boxes == rectangles).all():
            return boxes
        rectangles = boxes


def _candidate_costs(sizes: np.ndarray, counts: np.ndarray, rest: np.ndarray, candidates: np.ndarray) -> np.ndarray:
    """[M]: padded area with each candidate [M, D] added, where `rest` [n] is what each size costs elsewhere."""
    costs = np.empty(len(candidates))
    for start in range(0, len(candidates), CANDIDATES_AT_ONCE):
        homes = _home_areas(sizes, candidates[start : start + CANDIDATES_AT_ONCE])
        costs[start : start + CANDIDATES_AT_ONCE] = np.minimum(homes, rest) @ counts
    return costs


def move_edges(sizes: np.ndarray, counts: np.ndarray, rectangles: np.ndarray) -> np.ndarray:
    """Moves one edge of one rectangle at a time to its best position until no move helps.

    Args:
        sizes: int [n, D], distinct sizes; each must fit a rectangle.
        counts: float [n], how many examples have each.
        rectangles: int [K, D], the start; it is left as it is.

    Returns:
        int [K', D] with K' at most K: never worse than the start.
    """
    rectangles = shrink(sizes, rectangles.copy())
    improved = True
    while improved:
        improved = False
        homes = _home_areas(sizes, rectangles)  # [K, n]
        total = float(counts @ homes.min(axis=0))
        for place, axis in product(range(len(rectangles)), range(sizes.shape[1])):
            rest = np.delete(homes, place, axis=0).min(axis=0, initial=UNCOVERED)
            edges, costs = _edge_costs(sizes, counts, rest, rectangles[place], axis)
            best = int(costs.argmin())
            if costs[best] < total * (1 - ROUNDING):
                total, improved = float(costs[best]), True
                rectangles[place, axis] = edges[best]
                homes[place] = _home_areas(sizes, rectangles[place : place + 1])[0]
        rectangles = shrink(sizes, rectangles)
    return rectangles


def _edge_costs(
    sizes: np.ndarray, counts: np.ndarray, rest: np.ndarray, rectangle: np.ndarray, axis: int
) -> tuple[np.ndarray, np.ndarray]:
    """Padded area for every position of one edge of a rectangle, in O(n log n).

    A size moves in while the edge is at or above its own extent and the area still below `rest`: an interval of
    positions, so that sums over all sizes are running sums over where the intervals begin and end.

    Args:
        sizes: int [n, D].
        counts: [n].
        rest: [n], what each size costs elsewhere, inf where nothing else holds it; those fit the rectangle.
        rectangle: int [D].
        axis: Of the edge.

    Returns:
        int [M], the positions; [M], the costs, inf where a size is left without a home.
    """
    fits = np.ones(len(sizes), bool)
    for other in range(sizes.shape[1]):
        fits &= (other == axis) | (sizes[:, other] <= rectangle[other])
    forced = np.isinf(rest)
    floor = sizes[forced, axis].max(initial=0)
    edges = np.unique(sizes[fits, axis])
    edges = edges[edges >= floor]
    slice_area = float(np.delete(rectangle, axis).prod())
    areas = slice_area * edges  # [M]
    held = fits & ~forced & (slice_area * sizes[:, axis] < rest)
    begin = np.searchsorted(edges, sizes[held, axis])
    end = np.searchsorted(areas, rest[held])  # the first edge at which it gains nothing
    weights, values = counts[held], counts[held] * rest[held]

    def running(weights: np.ndarray) -> np.ndarray:
        ends = len(edges) + 1
        changes = np.bincount(begin, weights, ends) - np.bincount(np.maximum(begin, end), weights, ends)
        return np.cumsum(changes)[:-1]

    elsewhere = float(counts[~forced] @ rest[~forced])
    return edges, elsewhere + areas * counts[forced].sum() + areas * running(weights) - running(values)


def _swap(sizes: np.ndarray, counts: np.ndarray, rectangles: np.ndarray) -> np.ndarray:
    """Makes one of two rectangles and places the one that this frees where it saves most; keeps the best outcome."""
    if len(rectangles) < 2:
        return rectangles
    total = padded_area(sizes, counts, rectangles)
    merged = []
    for first, second in combinations(range(len(rectangles)), 2):
        joint = np.maximum(rectangles[first], rectangles[second])
        trial = np.vstack([np.delete(rectangles, [first, second], axis=0), joint])
        merged.append((padded_area(sizes, counts, trial), trial))
    merged.sort(key=lambda pair: pair[0])
    trials, corners = [], _corners(sizes)
    for _, trial in merged[:PAIRS]:
        rest = _home_areas(sizes, trial).min(axis=0)
        for best in np.argsort(_candidate_costs(sizes, counts, rest, corners), kind="stable")[:INSERTIONS]:
            # Judged only after the others have shrunk: the best new rectangle is the one that lets them.
            inserted = shrink(sizes, np.vstack([trial, corners[best]]))
            trials.append((padded_area(sizes, counts, inserted), inserted))
    trials.sort(key=lambda pair: pair[0])
    for _, trial in trials[:DESCENTS]:
        moved = move_edges(sizes, counts, trial)
        cost = padded_area(sizes, counts, moved)
        if cost < total:
            total, rectangles = cost, moved
    return rectangles


def _corners(sizes: np.ndarray) -> np.ndarray:
    """Places for a new rectangle: a grid over the extents that occur, at most about 600 points."""
    per_axis = int(600 ** (1 / sizes.shape[1]))
    axes = [_thin(np.unique(sizes[:, axis]), per_axis) for axis in range(sizes.shape[1])]
    return np.stack(np.meshgrid(*axes, indexing="ij"), axis=-1).reshape(-1, sizes.shape[1])


def _thin(values: np.ndarray, most: int) -> np.ndarray:
    """At most `most` of the sorted values, evenly spread, the largest among them."""
    if len(values) <= most:
        return values
    return values[np.linspace(0, len(values) - 1, most).round().astype(int)]
