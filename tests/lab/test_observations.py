import numpy as np
import pytest
from simulated_pairs import observation

from fcnjax.lab.claims import Term, difference
from fcnjax.lab.observations import Observations


def test_contrast_pairs_examples_by_id_and_runs_by_seed_and_fold():
    a = [
        observation("a", 1, 0, [7, 3], accuracy=[1, 0]),
        observation("a", 0, 1, [9, 4], accuracy=[1, 1]),
        observation("a", 0, 0, [3, 7], accuracy=[1, 1]),
    ]
    b = [
        observation("b", 0, 0, [7, 3], accuracy=[1, 0]),
        observation("b", 0, 1, [4, 9], accuracy=[1, 0]),
        observation("b", 1, 0, [3, 7], accuracy=[1, 0]),
    ]
    found = Observations((*a, *b), folds=2).contrast(difference("a", "b"))
    rows = sorted(zip(found.runs.tolist(), found.examples.tolist(), found.values.tolist(), strict=True))
    assert rows == [(0, 3, 1), (0, 7, 0), (1, 4, 0), (1, 9, 1), (2, 3, -1), (2, 7, 1)]


def test_contrast_weighs_metrics_of_one_arm_and_keeps_its_ids():
    run = observation("a", 0, 0, [5, 2], small=[0.5, 1.0], large=[0.25, 0.0])
    found = Observations((run,), folds=1).contrast((Term("a", "small", 2.0), Term("a", "large", -4.0)))
    assert dict(zip(found.examples.tolist(), found.values.tolist(), strict=True)) == {5: 0.0, 2: 2.0}


def test_contrast_leaves_out_what_one_arm_lacks():
    runs = (
        observation("a", 0, 0, [1, 2, 3, 4], accuracy=[1, np.nan, 1, 1]),
        observation("b", 0, 0, [4, 2, 1], accuracy=[0, 0, np.nan]),
        observation("a", 1, 0, [1], accuracy=[1]),  # b has no such run
    )
    found = Observations(runs, folds=1).contrast(difference("a", "b"))
    assert (found.values.tolist(), found.examples.tolist(), found.runs.tolist()) == ([1], [4], [0])
    nothing = Observations(runs[1:], folds=1).contrast(difference("a", "b"))
    assert nothing.values.shape == nothing.examples.shape == nothing.runs.shape == (0,)


def test_contrast_names_what_is_missing():
    run = observation("a", 2, 1, [1], accuracy=[1])
    observations = Observations((run,), folds=2)
    with pytest.raises(ValueError, match="arm='b': must have runs; run the experiment first"):
        observations.contrast(difference("a", "b"))
    with pytest.raises(ValueError, match="arm 'a', seed 2, fold 1: unknown metric 'acuracy': did you mean 'accuracy'"):
        observations.contrast((Term("a", "acuracy"),))
    with pytest.raises(ValueError, match="must be at least one"):
        observations.contrast(())


def test_runs_of_an_arm_are_sorted_by_seed_and_fold():
    runs = tuple(observation("a", seed, fold, [1], accuracy=[1]) for seed, fold in [(1, 0), (0, 1), (0, 0)])
    assert [(run.seed, run.fold) for run in Observations(runs, folds=2).of("a")] == [(0, 0), (0, 1), (1, 0)]
