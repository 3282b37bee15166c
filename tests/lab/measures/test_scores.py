"""Measures of trained runs, compared with plain computations."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from tiny_experiment import CONV, GAP, HIDDEN, make_normed_runner

from fcnjax import lab
from fcnjax.data import PartialSource
from fcnjax.data.sources.contents import sample_positions
from fcnjax.padded import Padded
from fcnjax.training import make_model
from fcnjax.training.step.step import merge, split

EARLY = lab.Arm("early", "early", {**HIDDEN, "head.pool_at": 0})


@pytest.fixture(scope="module")
def runner(tmp_path_factory) -> lab.Runner:
    return make_normed_runner(tmp_path_factory.mktemp("measures"), GAP, CONV, EARLY)


@pytest.fixture(scope="module")
def run(runner) -> lab.TrainedRun:
    """The arm `gap`, whose statistics have moved away from their initial values."""
    return runner.trained("gap", 0, 1)


@pytest.fixture(scope="module")
def hidden(runner) -> lab.TrainedRun:
    return runner.trained("early", 0, 1)


def logits_alone(run: lab.TrainedRun, index: int, model=None) -> np.ndarray:
    """Returns the logits of one test example, alone at its own size."""
    model = run.model if model is None else model
    return np.asarray(model(Padded.stack([run.sources["test"][index].values / 1.0])))[0]


CONVERTED = lab.SameFunction("gap", "conv", (("head.pool_at", 1),))
LAST = (("head.pool_at", 2),)


def test_scores_equal_plain_computations(run):
    measured = lab.Scores()(run)
    assert set(measured.values) == {"accuracy", "log loss"}
    for index in range(0, len(run.labels), 5):
        logits = logits_alone(run, index).astype(np.float64)
        label = run.sources["test"][index].label
        assert measured.values["accuracy"][index] == (logits.argmax() == label)
        loss = np.log(np.exp(logits).sum()) - logits[label]
        assert measured.values["log loss"][index] == pytest.approx(loss, rel=1e-4, abs=1e-5)


def test_examples_that_cannot_be_decoded_have_no_scores_and_other_scores_must_be_finite(run):
    logits, labels = run.test.logits.copy(), run.test.labels.copy()
    logits[2], labels[2] = np.nan, -1
    masked = dataclasses.replace(run, test=dataclasses.replace(run.test, logits=logits, labels=labels))
    for values in lab.Scores()(masked).values.values():
        assert np.flatnonzero(np.isnan(values)).tolist() == [2]
    broken = dataclasses.replace(run, test=dataclasses.replace(run.test, logits=logits))
    with pytest.raises(FloatingPointError, match="arm 'gap': its logits must be finite"):
        lab.Scores()(broken)


def test_other_examples_are_scored_at_any_size(run):
    part = PartialSource(run.sources["test"], np.array([1, 4]), {})
    np.testing.assert_allclose(run.scores(part), run.scores()[[1, 4]], atol=1e-6)


def test_orders_of_a_linear_head_are_one_function_and_of_a_hidden_one_are_not(run, hidden):
    same = CONVERTED(run)
    assert same is not None
    assert same.numbers.keys() == {"logits differ, conv", "gradients differ, conv", "functions differ, conv"}
    assert 0 <= max(same.numbers.values()) < 1e-13
    other = lab.SameFunction("early", "late", LAST)(hidden)
    assert other is not None
    assert min(other.numbers.values()) > 1e-3
    assert max(other.numbers.values()) == other.numbers["functions differ, late"]


def test_the_difference_is_that_of_the_trained_weights(hidden):
    measured = lab.SameFunction("early", "late", LAST, examples=3)(hidden)
    assert measured is not None
    recipe = dataclasses.replace(hidden.recipe, head=dataclasses.replace(hidden.recipe.head, pool_at=2))
    graphdef = split(make_model(recipe, hidden.sources["train"], 0))[0]
    late = merge(graphdef, *hidden.state.evaluated)
    chosen = sample_positions(len(hidden.labels), 3)
    ours = np.stack([logits_alone(hidden, index) for index in chosen])
    theirs = np.stack([logits_alone(hidden, index, late) for index in chosen])
    expected = np.abs(ours - theirs).max() / np.abs(theirs).max()
    assert measured.numbers["logits differ, late"] == pytest.approx(expected, rel=1e-4)

    def loss(weights, graphdef):
        model, total = merge(graphdef, weights, hidden.state.statistics), 0.0
        for index in chosen:
            logits = model(Padded.stack([hidden.sources["test"][index].values]))[0]
            total -= jax.nn.log_softmax(logits)[hidden.labels[index]]
        return total / len(chosen)

    gradients = [
        jax.jit(jax.grad(loss), static_argnums=1)(hidden.state.weights, each)
        for each in (hidden.trainer.graphdef, graphdef)
    ]
    a, b = (jnp.concatenate([jnp.ravel(each[name]) for name in sorted(each)]) for each in gradients)
    expected = float(jnp.abs(a - b).max() / jnp.abs(b).max())
    assert measured.numbers["gradients differ, late"] == pytest.approx(expected, rel=1e-3)


def test_an_order_may_be_compared_with_another_one_that_is_not_the_arm(hidden):
    measured = lab.SameFunction("early", "late", LAST, own=LAST)(hidden)
    assert measured is not None
    assert set(measured.numbers.values()) == {0.0}


def test_other_arms_are_left_out_and_other_parameters_refused(run, hidden):
    assert CONVERTED(hidden) is None
    with pytest.raises(ValueError, match="of arm 'gap': must keep the parameters of its network"):
        lab.SameFunction("gap", "wide", (("head.hidden", (5,)),))(run)


def test_flips_are_predictions_that_change(run):
    measured = lab.Flips()(run)
    flipped = measured.values["flipped in bfloat16"]
    recipe = dataclasses.replace(run.recipe, model=dataclasses.replace(run.recipe.model, dtype="bfloat16"))
    graphdef = split(make_model(recipe, run.sources["train"], 0))[0]
    low = merge(graphdef, *run.state.evaluated)
    for index in range(0, len(run.labels), 5):
        assert flipped[index] == (logits_alone(run, index, low).argmax() != run.scores()[index].argmax())
    assert measured.numbers == {"flipped in bfloat16": flipped.mean()}
    opposite = dataclasses.replace(run, test=dataclasses.replace(run.test, logits=-run.test.logits))
    assert lab.Flips()(opposite).numbers["flipped in bfloat16"] == 1 - (run.scores() == 0).all(axis=1).mean()
    assert lab.Flips("float32")(run).numbers == {"flipped in float32": 0.0}


def test_accuracies_by_area_divide_all_examples_of_the_pool_alike(runner, run):
    measured = lab.ByArea(3)(run)
    assert measured is not None
    names = ("accuracy, smallest third", "accuracy, middle third", "accuracy, largest third")
    assert tuple(measured.values) == names
    pool_areas = np.sort(run.pool.sizes.prod(axis=1))
    areas, accuracy = run.sources["test"].sizes.prod(axis=1), lab.Scores()(run).values["accuracy"]
    table = np.stack([measured.values[name] for name in names])
    assert np.all((~np.isnan(table)).sum(axis=0) == 1)  # each example in one group
    np.testing.assert_array_equal(np.nanmax(table, axis=0), accuracy)
    ends = [(areas[~np.isnan(row)].min(), areas[~np.isnan(row)].max()) for row in table]
    assert ends[0][1] < ends[1][0]
    assert ends[1][1] < ends[2][0]
    for (low, high), place in zip(ends, (0, 1, 2), strict=True):  # each group is about a third of the pool
        assert np.mean(pool_areas < low) >= place / 3 - 0.12
        assert np.mean(pool_areas <= high) <= (place + 1) / 3 + 0.12
    other = runner.trained("gap", 0, 0)
    bounds = [areas[~np.isnan(table[0])].max(), other.sources["test"].sizes.prod(axis=1)]
    small = ~np.isnan(lab.ByArea(3)(other).values[names[0]])
    assert np.all(small[bounds[1] <= bounds[0]])


def test_one_size_is_not_divided_and_parts_are_checked(run):
    flat = PartialSource(run.pool, np.arange(4), {})
    flat.sizes = np.full((4, 2), 8)
    assert lab.ByArea(2)(dataclasses.replace(run, pool=flat)) is None
    assert lab.ByArea(2).names == ("accuracy, smallest half", "accuracy, largest half")
    assert lab.ByArea(5).names[1:4] == tuple(f"accuracy, {place} fifth" for place in ("second", "third", "fourth"))
    with pytest.raises(ValueError, match="parts=1: must be 2 to 5"):
        lab.ByArea(1)
