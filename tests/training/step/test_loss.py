"""The loss of training against PyTorch's, alone and within a step: fillers, mixtures, parts, class weights."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from sklearn.utils.class_weight import compute_class_weight
from synthetic_data import make_examples, make_recipe

from fcnjax.data import ArraySource, PartialSource, ResizedSource, SizePolicy, as_source
from fcnjax.data.augmentation.mixup import draw_mixture
from fcnjax.padded import Padded
from fcnjax.training import LossSettings, Trainer
from fcnjax.training.step.loss import class_weights_of, cross_entropy, make_example_weights, make_loss
from fcnjax.training.step.step import Targets, make_gradient

WEIGHTS = (0.5, 2.0, 1.25)
CLOCK = np.array([3, 1], np.uint32)


@pytest.fixture(scope="module")
def torch():
    return pytest.importorskip("torch")


def torch_loss(torch, logits, labels, smoothing, weights, reduction="mean"):
    weight = None if weights is None else torch.tensor(weights, dtype=torch.float64)
    criterion = torch.nn.CrossEntropyLoss(weight=weight, label_smoothing=smoothing, reduction=reduction)
    return criterion(logits, torch.tensor(np.asarray(labels), dtype=torch.long))


@pytest.mark.parametrize("weights", [None, WEIGHTS])
@pytest.mark.parametrize("smoothing", [0.0, 0.2])
def test_losses_means_and_gradients_are_those_of_pytorch(torch, smoothing, weights):
    rng = np.random.default_rng(0)
    logits, labels = rng.normal(size=(7, 3)) * 3, rng.integers(3, size=7)
    loss, example_weights = make_loss(smoothing, weights), make_example_weights(weights) or jnp.ones_like

    def mean(logits: jax.Array) -> jax.Array:
        given = jnp.asarray(labels)
        return jnp.sum(loss(logits, given)) / jnp.sum(example_weights(given))

    theirs = torch.tensor(logits, requires_grad=True)
    wanted = torch_loss(torch, theirs, labels, smoothing, weights)
    wanted.backward()
    value, gradient = jax.value_and_grad(mean)(jnp.asarray(logits, jnp.float32))
    assert float(value) == pytest.approx(wanted.item(), rel=1e-5)
    np.testing.assert_allclose(gradient, theirs.grad, atol=1e-6)


def test_without_smoothing_and_weights_the_step_is_what_it_was():
    assert make_loss() is cross_entropy
    assert make_example_weights(None) is None


@pytest.fixture(scope="module")
def weighted(sources) -> Trainer:
    """With norms per example and no dropout, the logits of a row are the same in any batch."""
    loss = {"label_smoothing": 0.1, "class_weights": list(WEIGHTS)}
    return Trainer(make_recipe(model={"norm": "group"}, loss=loss), sources)


def batch_of(count: int, rows: int) -> tuple[Padded, Targets]:
    examples, labels = make_examples(count, seed=5)
    ids = np.full(rows, -1, np.int32)
    ids[:count] = range(count)
    return Padded.stack(examples, (16, 18), rows), Targets(np.resize(np.array(labels, np.int32), rows), ids)


@pytest.mark.parametrize(("mixup", "own"), [(0.0, False), (0.4, False), (0.0, True), (0.4, True)])
def test_the_mean_of_a_step_is_over_weights_of_real_examples_and_mixtures(torch, weighted, mixup, own):
    """Weights of classes, and if `own`, of the examples themselves."""
    batch, targets = batch_of(5, rows=8)
    each = np.array([2.0, 0.25, 1.5, 3.0, 0.7, 0, 0, 0], np.float32) if own else np.ones(8, np.float32)
    targets = targets._replace(weights=each) if own else targets
    state = weighted.initial_state(0)
    loss, example_weights = make_loss(0.1, WEIGHTS), make_example_weights(WEIGHTS)
    assert example_weights is not None
    gradient = jax.jit(make_gradient(weighted.graphdef, loss, mixup=mixup, example_weights=example_weights))
    value, _, _, total = gradient(state.weights, state.statistics, batch, targets, CLOCK)

    keys = jax.vmap(jax.random.fold_in, (None, 0))(jax.random.fold_in(jax.random.key(3), 1), targets.ids)
    partner, share = np.arange(8), np.ones(8)
    values = np.asarray(batch.values)
    if mixup:
        partner, share = map(np.asarray, draw_mixture(batch.real, keys, mixup))
        assert share[:5].min() < 0.95
        inside = np.asarray(batch.mask)
        scale = share.reshape(-1, 1, 1, 1)
        values = np.where(
            inside[..., None] if inside.ndim == 3 else inside, scale * values + (1 - scale) * values[partner], 0
        )
    logits = np.asarray(weighted.model(state)(batch.replace(jnp.asarray(values, jnp.float32))), np.float64)[:5]
    labels, share = targets.labels, share[:5]
    losses, other = (
        torch_loss(torch, torch.tensor(logits), given, 0.1, WEIGHTS, "none").numpy()
        for given in (labels[:5], labels[partner[:5]])
    )
    weights, share, rest = np.array(WEIGHTS), share * each[:5], (1 - share) * each[partner[:5]]
    divisor = np.sum(share * weights[labels[:5]] + rest * weights[labels[partner[:5]]])
    assert float(value) == pytest.approx(np.sum(share * losses + rest * other) / divisor, rel=1e-5)
    assert float(total) == pytest.approx(divisor, rel=1e-5)


def test_an_example_of_weight_two_is_that_example_twice(weighted):
    """Losses and gradients; the network has a norm per example."""
    state, gradient = weighted.initial_state(0), jax.jit(make_gradient(weighted.graphdef))
    examples, labels = make_examples(4, seed=5)
    results = []
    for rows, weights in (([0, 1, 2, 3], (2, 1, 3, 1)), ([0, 0, 1, 2, 2, 2, 3], None)):
        batch = Padded.stack([examples[row] for row in rows], (16, 18), 8)
        labels_of, ids, given = np.zeros(8, np.int32), np.full(8, -1, np.int32), np.zeros(8, np.float32)
        labels_of[: len(rows)], ids[: len(rows)] = np.array(labels)[rows], rows
        given[: len(rows)] = 1 if weights is None else weights
        targets = Targets(labels_of, ids, given if weights else None)
        results.append(gradient(state.weights, state.statistics, batch, targets, CLOCK))
    (loss, _, gradients, total), (wanted, _, wanted_gradients, count) = results
    assert (float(total), float(count)) == (7, 7)
    assert float(loss) == pytest.approx(float(wanted), rel=1e-6)
    for name, array in wanted_gradients.items():
        np.testing.assert_allclose(gradients[name], array, atol=1e-6 * np.abs(array).max(), rtol=1e-4, err_msg=name)


def test_a_run_weighs_its_training_examples_and_counts_each_once_in_evaluation(torch, sources):
    train, recipe = sources["train"], make_recipe(model={"norm": "group"})
    weights = np.linspace(0.1, 3, len(train), dtype=np.float32)
    heavy = ArraySource(
        [train[index].values for index in range(len(train))], train.labels, train.class_names, weights=weights
    )
    ours, plain = Trainer(recipe, sources | {"train": heavy}), Trainer(recipe, sources)
    state = ours.initial_state(0)
    logits = ours.evaluate(state, "train").logits  # the same in training: no dropout, a norm per example
    assert ours.evaluate(state, "train").loss == plain.evaluate(state, "train").loss
    [(step, batch)] = ours.batches(0, 0, 1)
    rows = step.rows[step.rows >= 0]
    np.testing.assert_array_equal(batch.weights[: len(rows)], weights[rows])
    losses = torch_loss(torch, torch.tensor(logits[rows]), heavy.labels[rows], 0.0, None, "none")
    _, loss = ours.step(state, 0, step, batch)
    assert float(loss) == pytest.approx(np.average(losses, weights=weights[rows]), rel=1e-5)
    assert ours.on(sources).programs is not ours.programs  # other examples without weights take other steps


@pytest.mark.parametrize(("mixup", "own"), [(0.0, True), (0.4, False)])
def test_a_step_made_of_parts_is_the_step_of_their_sum(sources, mixup, own):
    """Losses of the separate parts over the weights of all examples; mixtures stay within a part."""
    recipe = make_recipe(
        model={"norm": "group"},
        batching="mixed",
        batch_size=9,
        mixup=mixup,
        loss={"label_smoothing": 0.1, "class_weights": list(WEIGHTS)},
    )
    train = PartialSource(sources["train"], np.arange(len(sources["train"])), {})
    train.weights = np.linspace(0.2, 4, len(train), dtype=np.float32) if own else None
    trainer = Trainer(recipe, sources | {"train": train})
    state, example_weights = trainer.initial_state(1), make_example_weights(WEIGHTS)
    assert example_weights is not None
    loss = make_loss(0.1, WEIGHTS)
    gradient = jax.jit(make_gradient(trainer.graphdef, loss, mixup=mixup, example_weights=example_weights))
    [(step, parts)] = trainer.batches(1, 0, 1)
    means, totals, seed_and_epoch = [], [], np.array([1, 0], np.uint32)
    for part in parts:
        inputs = Padded(part.values, part.sizes), Targets(part.labels, part.ids, part.weights)
        mean, _, _, total = gradient(state.weights, state.statistics, *inputs, seed_and_epoch)
        means.append(float(mean))
        totals.append(float(total))
    assert len(totals) > 1
    _, value = trainer.step(state, 1, step, parts)
    assert float(value) == pytest.approx(np.average(means, weights=totals), rel=1e-5)


def test_evaluation_is_plain_cross_entropy(weighted, sources):
    state = weighted.initial_state(0)
    plain = Trainer(make_recipe(model={"norm": "group"}), sources).evaluate(state, "test")
    assert weighted.evaluate(state, "test").loss == plain.loss


def test_balanced_weights_are_those_of_scikit_learn_whatever_stands_around_the_source(sources):
    balanced, train = LossSettings(class_weights="balanced"), sources["train"]
    items = [train[index] for index in range(len(train))]
    assert class_weights_of(LossSettings(), train) is None
    assert class_weights_of(LossSettings(class_weights=WEIGHTS), train) == WEIGHTS
    part = PartialSource(train, np.arange(12), {})
    for source in (train, part, ResizedSource(part, SizePolicy(max_side=9)), as_source(items, tuple("abc"))):
        labels = np.array([source[index].label for index in range(len(source))])
        np.testing.assert_array_equal(source.labels, labels)
        wanted = compute_class_weight("balanced", classes=np.arange(3), y=labels)
        np.testing.assert_allclose(class_weights_of(balanced, source), wanted)


def test_weights_that_cannot_be_are_refused_in_one_sentence(sources):
    balanced, train = LossSettings(class_weights="balanced"), sources["train"]
    items = [train[index] for index in range(len(train))]
    with pytest.raises(ValueError, match=r"^config.loss.class_weights=\(1.0, 2.0\): must have one number for each of"):
        class_weights_of(LossSettings(class_weights=(1.0, 2.0)), train)
    with pytest.raises(ValueError, match=r"^config.loss.class_weights='balanced': the source does not know"):
        class_weights_of(balanced, as_source(items, tuple("abc"), sizes=train.sizes))
    with pytest.raises(ValueError, match="class 'd' does not have a training example"):
        class_weights_of(balanced, as_source(items, tuple("abcd")))
