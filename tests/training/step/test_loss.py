"""The loss of training against PyTorch's, alone and within a step: fillers, mixtures, parts, class weights."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from sklearn.utils.class_weight import compute_class_weight
from synthetic_data import make_examples, make_recipe

from fcnjax.data import PartialSource, ResizedSource, SizePolicy, as_source
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


@pytest.mark.parametrize("mixup", [0.0, 0.4])
def test_the_mean_of_a_step_is_over_weights_of_real_examples_and_mixtures(torch, weighted, mixup):
    batch, targets = batch_of(5, rows=8)
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
    own, other = (
        torch_loss(torch, torch.tensor(logits), given, 0.1, WEIGHTS, "none").numpy()
        for given in (labels[:5], labels[partner[:5]])
    )
    weights = np.array(WEIGHTS)
    divisor = np.sum(share * weights[labels[:5]] + (1 - share) * weights[labels[partner[:5]]])
    assert float(value) == pytest.approx(np.sum(share * own + (1 - share) * other) / divisor, rel=1e-5)
    assert float(total) == pytest.approx(divisor, rel=1e-5)


@pytest.mark.parametrize("mixup", [0.0, 0.4])
def test_a_step_made_of_parts_is_the_step_of_their_sum(sources, mixup):
    """Losses of the separate parts over the weights of all examples; mixtures stay within a part."""
    recipe = make_recipe(
        model={"norm": "group"},
        batching="mixed",
        batch_size=9,
        mixup=mixup,
        loss={"label_smoothing": 0.1, "class_weights": list(WEIGHTS)},
    )
    trainer = Trainer(recipe, sources)
    state, example_weights = trainer.initial_state(1), make_example_weights(WEIGHTS)
    assert example_weights is not None
    loss = make_loss(0.1, WEIGHTS)
    gradient = jax.jit(make_gradient(trainer.graphdef, loss, mixup=mixup, example_weights=example_weights))
    [(step, parts)] = trainer.batches(1, 0, 1)
    means, totals, seed_and_epoch = [], [], np.array([1, 0], np.uint32)
    for part in parts:
        inputs = Padded(part.values, part.sizes), Targets(part.labels, part.ids)
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
