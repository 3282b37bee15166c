"""The search behind `plan_buckets`: greedy merging and local search over bucket shapes; exact for D = 1.

Axes: n distinct sizes, D spatial axes, K buckets, M candidate shapes. The one idea: without bucket k, each size costs
`rest` [n] in the cheapest other bucket; a candidate shape for k then costs `sum(counts * min(rest, area if it fits))`,
so that one matrix [M, n] judges all candidates for k.
"""

from itertools import combinations, product

import numpy as np

from fcnjax.data.size_table import coarsened

# The search is quadratic in the distinct sizes: above this number, by number of axes, it runs on a coarser grid.
MAX_DISTINCT = {1: 6000, 2: 1500, 3: 1000}
COARSE_DISTINCT = 250  # one search starts from the best shapes on a grid as coarse as this
FINE_DISTINCT = 20_000  # the final moves of edges see at most this many
UNCOVERED = np.inf
CANDIDATES_AT_ONCE = 256
MERGES = 12  # pairs of buckets that are merged on trial, per sweep
INSERTIONS = 6  # shapes that are tried for the bucket that a merge frees, per pair
DESCENTS = 4  # best outcomes of these trials that are refined by moving edges, per sweep
ROUNDING = 1e-12  # a gain below this share of the total counts as rounding


def search_shapes(distinct: np.ndarray, counts: np.ndarray, max_buckets: int) -> np.ndarray:
    """Returns bucket shapes of little padded area: optimal for D = 1, else searched on coarse, then finer grids.

    Above `MAX_DISTINCT` distinct lengths, the optimum for D = 1 is found on a coarser grid.

    Args:
        distinct: int64 [n, D], distinct sizes in lexicographic order.
        counts: int64 [n], how many examples have each size.
        max_buckets: K, at least 1.

    Returns:
        int [K', D] with K' at most K; each shape is the bounding box of the sizes in its bucket.
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


def greedy_buckets(sizes: np.ndarray, counts: np.ndarray, buckets: int) -> np.ndarray:
    """Returns the bounding boxes of groups: one group per size, then the cheapest merge until K are left.

    Args:
        sizes: int [n, D], distinct sizes.
        counts: [n], how many examples have each size.
        buckets: K, the number of groups to keep.

    Returns:
        int64 [K, D], bounding boxes of the groups; all sizes if there are no more than K.
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
    for _ in range(len(boxes) - buckets):
        group = int(best_cost.argmin())
        merged = int(best[group])
        boxes[group] = np.maximum(boxes[group], boxes[merged])
        counts[group] += counts[merged]
        costs[group] = counts[group] * boxes[group].prod()
        alive[merged] = False
        best_cost[merged] = np.inf
        added[:, merged] = np.inf
        added[merged] = np.inf
        added[group] = merge_costs(group)
        added[:, group] = added[group]
        closer = alive & (added[group] < best_cost)
        best[closer], best_cost[closer] = group, added[group][closer]
        for stale in np.flatnonzero(alive & ((best == group) | (best == merged)) & ~closer):
            best[stale] = added[stale].argmin()
            best_cost[stale] = added[stale, best[stale]]
        best[group] = added[group].argmin()
        best_cost[group] = added[group, best[group]]
    return boxes[alive].astype(np.int64)


def exact_intervals(sizes: np.ndarray, counts: np.ndarray, buckets: int) -> np.ndarray:
    """Returns the optimal lengths for D = 1, by dynamic programming over the sorted sizes: O(K n^2) in numpy.

    Args:
        sizes: int [n, 1], distinct and increasing.
        counts: [n], how many examples have each size.
        buckets: K, the number of lengths, 1 to n.

    Returns:
        int64 [K, 1], increasing.

    Source: Jenks' natural breaks (W. D. Fisher, JASA 53, 1958) with padded length in place of variance.
    """
    lengths = sizes[:, 0].astype(np.float64)  # [n]
    below = np.concatenate([[0.0], np.cumsum(counts)])  # [n + 1], examples among the first i sizes
    cost = np.append(0.0, np.full(len(lengths), np.inf))  # [n + 1], of the first i sizes in `count` lengths
    cuts = np.zeros((buckets, len(lengths) + 1), np.int64)
    for count in range(buckets):
        previous, cost = cost, np.full_like(cost, np.inf)
        for end in range(count + 1, len(lengths) + 1):
            totals = previous[:end] + lengths[end - 1] * (below[end] - below[:end])
            cuts[count, end] = totals.argmin()
            cost[end] = totals[cuts[count, end]]
    ends = [len(lengths)]
    for count in range(buckets - 1, 0, -1):
        ends.append(int(cuts[count, ends[-1]]))
    return sizes[np.array(ends[::-1]) - 1].astype(np.int64)


def area_groups(sizes: np.ndarray, counts: np.ndarray, groups: int) -> np.ndarray:
    """Returns the bounding boxes of sizes sorted by area and cut into groups of about equally many examples.

    Args:
        sizes: int [n, D], distinct sizes.
        counts: [n], how many examples have each size.
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


def improve(sizes: np.ndarray, counts: np.ndarray, shapes: np.ndarray, max_sweeps: int = 12) -> np.ndarray:
    """Returns the result of a local search: moves edges, and merges two buckets to free one, while padded area falls.

    Args:
        sizes: int [n, D], distinct sizes; each must fit a shape.
        counts: [n], how many examples have each size.
        shapes: int [K, D], the start.
        max_sweeps: maximum number of passes over all moves.

    Returns:
        int64 [K', D] with K' at most K: never worse than the start; each shape is the bounding box of the sizes in its
        bucket.
    """
    sizes, counts = sizes.astype(np.int64), counts.astype(np.float64)
    shapes = shrink(sizes, shapes.astype(np.int64))
    for _ in range(max_sweeps):
        before = padded_area(sizes, counts, shapes)
        shapes = move_edges(sizes, counts, shapes)
        shapes = _swap(sizes, counts, shapes)
        if padded_area(sizes, counts, shapes) >= before:
            break
    return shapes


def padded_area(sizes: np.ndarray, counts: np.ndarray, shapes: np.ndarray) -> float:
    """Returns the positions that all examples take if each goes to its cheapest bucket; inf if one fits no bucket."""
    return float((counts * _costs(sizes, shapes).min(axis=0)).sum())


def _costs(sizes: np.ndarray, shapes: np.ndarray) -> np.ndarray:
    """Returns the area that each size costs in each bucket, [K, n]; inf if the size does not fit."""
    fits = np.ones((len(shapes), len(sizes)), bool)
    for axis in range(sizes.shape[1]):
        fits &= sizes[:, axis] <= shapes[:, axis, None]
    return np.where(fits, shapes.prod(axis=1)[:, None].astype(np.float64), UNCOVERED)


def shrink(sizes: np.ndarray, shapes: np.ndarray) -> np.ndarray:
    """Returns the bounding boxes of the sizes in each bucket, repeated until nothing changes; drops empty buckets.

    Args:
        sizes: int [n, D]; each must fit a shape.
        shapes: int [K, D].

    Returns:
        int [K', D] with K' at most K.
    """
    while True:
        assignment = _costs(sizes, shapes).argmin(axis=0)  # [n]
        boxes = np.zeros_like(shapes)
        np.maximum.at(boxes, assignment, sizes)
        boxes = np.unique(boxes[boxes.all(axis=1)], axis=0)
        if boxes.shape == shapes.shape and (boxes == shapes).all():
            return boxes
        shapes = boxes


def _candidate_costs(sizes: np.ndarray, counts: np.ndarray, rest: np.ndarray, candidates: np.ndarray) -> np.ndarray:
    """Returns the padded area with each candidate shape [M, D] added, [M]; `rest` [n] is each size's cost elsewhere."""
    totals = np.empty(len(candidates))
    for start in range(0, len(candidates), CANDIDATES_AT_ONCE):
        costs = _costs(sizes, candidates[start : start + CANDIDATES_AT_ONCE])
        totals[start : start + CANDIDATES_AT_ONCE] = np.minimum(costs, rest) @ counts
    return totals


def move_edges(sizes: np.ndarray, counts: np.ndarray, shapes: np.ndarray) -> np.ndarray:
    """Returns the shapes after moving one edge of one bucket at a time to its best position until no move helps.

    Args:
        sizes: int [n, D], distinct sizes; each must fit a shape.
        counts: float [n], how many examples have each size.
        shapes: int [K, D], the start; it is not changed.

    Returns:
        int [K', D] with K' at most K: never worse than the start.
    """
    shapes = shrink(sizes, shapes.copy())
    improved = True
    while improved:
        improved = False
        costs = _costs(sizes, shapes)  # [K, n]
        total = float(counts @ costs.min(axis=0))
        for bucket, axis in product(range(len(shapes)), range(sizes.shape[1])):
            rest = np.delete(costs, bucket, axis=0).min(axis=0, initial=UNCOVERED)
            edges, totals = _edge_costs(sizes, counts, rest, shapes[bucket], axis)
            best = int(totals.argmin())
            if totals[best] < total * (1 - ROUNDING):
                total, improved = float(totals[best]), True
                shapes[bucket, axis] = edges[best]
                costs[bucket] = _costs(sizes, shapes[bucket : bucket + 1])[0]
        shapes = shrink(sizes, shapes)
    return shapes


def _edge_costs(
    sizes: np.ndarray, counts: np.ndarray, rest: np.ndarray, shape: np.ndarray, axis: int
) -> tuple[np.ndarray, np.ndarray]:
    """Returns the padded area for every position of one edge of a bucket, in O(n log n).

    A size moves in while the edge is at or above its own extent and the bucket's area is still below its `rest`. These
    positions are an interval, so sums over all sizes are running sums over the beginnings and ends of intervals.

    Args:
        sizes: int [n, D].
        counts: [n].
        rest: [n], cost of each size elsewhere; inf if it fits no other bucket, in which case it fits this one.
        shape: int [D], shape of the bucket.
        axis: axis of the edge.

    Returns:
        The positions, int [M]; the padded areas, [M].
    """
    fits = np.ones(len(sizes), bool)
    for other in range(sizes.shape[1]):
        fits &= (other == axis) | (sizes[:, other] <= shape[other])
    forced = np.isinf(rest)
    edges = np.unique(sizes[fits, axis])
    edges = edges[edges >= sizes[forced, axis].max(initial=0)]
    slice_area = float(np.delete(shape, axis).prod())
    areas = slice_area * edges  # [M]
    movable = fits & ~forced & (slice_area * sizes[:, axis] < rest)
    begin = np.searchsorted(edges, sizes[movable, axis])
    end = np.searchsorted(areas, rest[movable])  # the first edge at which the size gains nothing

    def running_sum(weights: np.ndarray) -> np.ndarray:
        ends = len(edges) + 1
        changes = np.bincount(begin, weights, ends) - np.bincount(np.maximum(begin, end), weights, ends)
        return np.cumsum(changes)[:-1]

    moved_in = running_sum(counts[movable])  # [M], examples
    saved = running_sum(counts[movable] * rest[movable])  # [M], their cost elsewhere
    elsewhere = float(counts[~forced] @ rest[~forced])
    return edges, elsewhere + areas * counts[forced].sum() + areas * moved_in - saved


def _swap(sizes: np.ndarray, counts: np.ndarray, shapes: np.ndarray) -> np.ndarray:
    """Returns the best outcome of merging two buckets and placing the freed one where it saves most, or `shapes`."""
    if len(shapes) < 2:
        return shapes
    total = padded_area(sizes, counts, shapes)
    merged = []
    for first, second in combinations(range(len(shapes)), 2):
        joint = np.maximum(shapes[first], shapes[second])
        trial = np.vstack([np.delete(shapes, [first, second], axis=0), joint])
        merged.append((padded_area(sizes, counts, trial), trial))
    merged.sort(key=lambda pair: pair[0])
    trials, corners = [], _corners(sizes)
    for _, trial in merged[:MERGES]:
        rest = _costs(sizes, trial).min(axis=0)
        for best in np.argsort(_candidate_costs(sizes, counts, rest, corners), kind="stable")[:INSERTIONS]:
            # The trial is judged after the other buckets have shrunk: the best new shape is the one that lets them
            # shrink.
            inserted = shrink(sizes, np.vstack([trial, corners[best]]))
            trials.append((padded_area(sizes, counts, inserted), inserted))
    trials.sort(key=lambda pair: pair[0])
    for _, trial in trials[:DESCENTS]:
        moved = move_edges(sizes, counts, trial)
        cost = padded_area(sizes, counts, moved)
        if cost < total:
            total, shapes = cost, moved
    return shapes


def _corners(sizes: np.ndarray) -> np.ndarray:
    """Returns candidate shapes for a new bucket, int [M, D]: a grid over the extents that occur, at most about 600."""
    per_axis = int(600 ** (1 / sizes.shape[1]))
    axes = [_thin(np.unique(sizes[:, axis]), per_axis) for axis in range(sizes.shape[1])]
    return np.stack(np.meshgrid(*axes, indexing="ij"), axis=-1).reshape(-1, sizes.shape[1])


def _thin(values: np.ndarray, max_count: int) -> np.ndarray:
    """Returns at most `max_count` of the sorted values, evenly spread and including the largest."""
    if len(values) <= max_count:
        return values
    return values[np.linspace(0, len(values) - 1, max_count).round().astype(int)]
