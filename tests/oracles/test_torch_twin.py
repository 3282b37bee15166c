"""The PyTorch network that benchmarks compare with is the same function: every registered network, in both modes."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from fcnjax import Padded, models, pooling
from fcnjax.bench.torch_twin import torch_twin
from fcnjax.layers import GroupNorm

torch = pytest.importorskip("torch")

# Small versions of the networks that take long.
SMALL_FCN = {"width": 6, "depths": (1, 2, 1, 1, 1), "hidden": 12, "decoder": 4}
OPTIONS = {"fcn8s": SMALL_FCN, "fcn32s": SMALL_FCN, "efficientnet_b0": {"width": 0.5}} | {
    name: {"width": 8, "depths": (1, 2, 1, 1)} for name in models.MODELS if name.startswith("convnext")
}
IMAGES = np.random.default_rng(0).normal(size=(3, 70, 64, 3)).astype(np.float32)


def make(name: str) -> models.Classifier:
    model = models.create(name, classes=5, in_channels=3, rngs=nnx.Rngs(0), **OPTIONS.get(name, {}))
    for path, array in nnx.to_flat_state(nnx.state(model)):
        if path[-1] in ("scale", "bias", "mean", "variance"):  # zeros and ones would hide what is left out
            array[...] = array[...] + 0.3 * np.random.default_rng(len(str(path))).uniform(size=array.shape)
    return model


@pytest.mark.parametrize("name", sorted(models.MODELS))
def test_the_twin_has_the_logits_and_the_number_of_weights(name):
    model = make(name)
    twin = torch_twin(torch, model).eval()
    ours = jax.jit(lambda images: model(Padded(images, jnp.full((3, 2), jnp.array(IMAGES.shape[1:3])))))(IMAGES)
    with torch.no_grad():
        theirs = twin(torch.tensor(IMAGES).permute(0, 3, 1, 2)).numpy()
    scale = np.abs(theirs).max()
    np.testing.assert_allclose(ours / scale, theirs / scale, atol=2e-5)
    assert np.ptp(theirs / scale) > 1e-3
    weights = sum(array.size for array in jax.tree.leaves(nnx.state(model, nnx.Param)))
    assert sum(weight.numel() for weight in twin.parameters()) == weights


def test_the_twin_trains_with_batch_statistics():
    model = make("resnet_cifar")
    twin = torch_twin(torch, model).train()
    theirs = twin(torch.tensor(IMAGES).permute(0, 3, 1, 2)).detach().numpy()
    ours = model(Padded(jnp.asarray(IMAGES), jnp.full((3, 2), jnp.array(IMAGES.shape[1:3]))), train=True)
    np.testing.assert_allclose(ours, theirs, atol=1e-4 * np.abs(theirs).max())
    moved = next(module for module in twin.modules() if isinstance(module, torch.nn.BatchNorm2d)).running_mean
    np.testing.assert_allclose(model.blocks[0].layers[1].mean[...], moved.numpy(), atol=1e-5)


def test_what_has_no_counterpart_is_named():
    model = models.create("fcn", classes=5, in_channels=3, norm="group", rngs=nnx.Rngs(0))
    assert any(isinstance(layer, GroupNorm) for block in model.blocks for layer in block.layers)
    with pytest.raises(ValueError, match="layer GroupNorm"):
        torch_twin(torch, model)
    model.head.pool = pooling.Max()
    with pytest.raises(ValueError, match="the mean as its pool"):
        torch_twin(torch, model)
