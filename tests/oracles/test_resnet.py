"""ResNets against PyTorch with the same state dict, one unpadded image at a time: logits and gradients."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from fcnjax import Padded, models
from fcnjax.models.torch_weights import load_state_dict

torch = pytest.importorskip("torch")
from torch_layers import assert_near, from_torch, to_torch  # noqa: E402
from torch_resnet import ResNet  # noqa: E402

DEPTHS = {"resnet18": (2, 2, 2, 2), "resnet34": (3, 4, 6, 3), "resnet50": (3, 4, 6, 3)}
SIZES = [(1, 1), (33, 20), (32, 48)]  # one pixel; just above and just below a multiple of the stride
WIDTH, CLASSES, CHANNELS = 8, 5, 3


def make_reference(arch: str):
    """PyTorch's network with random weights, biases and statistics, in float64."""
    network = ResNet(DEPTHS[arch], arch == "resnet50", WIDTH, CLASSES, CHANNELS).double().eval()
    generator = torch.Generator().manual_seed(0)
    for name, tensor in network.state_dict().items():
        if tensor.is_floating_point() and tensor.ndim == 1:
            drawn = torch.rand(tensor.shape, generator=generator, dtype=torch.float64)
            tensor.copy_(drawn + 0.5 if name.endswith(("weight", "var")) else drawn - 0.5)
    return network


def make_ours(arch: str, reference):
    state = {name: tensor.numpy() for name, tensor in reference.state_dict().items()}
    model = models.create(arch, classes=CLASSES, in_channels=CHANNELS, width=WIDTH, rngs=nnx.Rngs(0))
    graphdef, variables = nnx.split(model)
    model = nnx.merge(graphdef, jax.tree.map(lambda array: array.astype(np.float64), variables))
    return load_state_dict(model, arch, state)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("arch", DEPTHS)
def test_logits_and_gradients(arch, dtype):
    reference = make_reference(arch)
    with jax.enable_x64(True):
        graphdef, weights, rest = nnx.split(make_ours(arch, reference), nnx.Param, ...)
        weights, rest = jax.tree.map(lambda array: array.astype(dtype), (weights, rest))
        rng = np.random.default_rng(1)
        examples = [rng.normal(size=(*size, CHANNELS)).astype(dtype) for size in SIZES]
        batch = Padded.stack(examples, shape=(40, 50), batch_size=len(examples) + 1)

        @jax.jit
        def total(weights, values):
            logits = nnx.merge(graphdef, weights, rest)(Padded(values, batch.sizes))
            return jnp.sum(jnp.sin(logits)), logits

        (_, logits), (weight_gradient, gradient) = jax.value_and_grad(total, (0, 1), has_aux=True)(
            weights, batch.values
        )
        inputs = Padded(gradient, batch.sizes).unstack()
        stem = np.asarray(weight_gradient["blocks"][0]["layers"][0]["kernel"][...])
    reference = reference.float() if dtype is np.float32 else reference
    for index, example in enumerate(examples):
        x = to_torch(torch, example)
        y = reference(x)
        torch.sin(y).sum().backward()
        assert_near(logits[index], y.detach().numpy()[0], dtype, f"logits of size {example.shape}")
        assert_near(inputs[index], from_torch(x.grad), dtype, f"input gradient of size {example.shape}")
    theirs = np.moveaxis(reference.conv1.weight.grad.numpy(), (0, 1), (-1, -2))
    assert_near(stem, theirs, dtype, "gradient of the first convolution")


def test_a_state_dict_that_does_not_fit_is_refused():
    state = {name: tensor.numpy() for name, tensor in make_reference("resnet18").state_dict().items()}
    model = models.create("resnet18", classes=CLASSES, in_channels=CHANNELS, width=WIDTH, rngs=nnx.Rngs(0))
    before = np.asarray(model.blocks[0].layers[0].kernel[...])
    changed = {"fc.extra" if name == "fc.bias" else name: array for name, array in state.items()}
    with pytest.raises(ValueError, match=r"missing fc\.bias; surplus fc\.extra\. Nothing was loaded"):
        load_state_dict(model, "resnet18", changed)
    with pytest.raises(ValueError, match=r"fc\.weight of shape \(7, 64\): this resnet18 needs head.*\(64, 5\)"):
        load_state_dict(model, "resnet18", {**state, "fc.weight": np.zeros((7, 64))})
    with pytest.raises(ValueError, match="unknown architecture with PyTorch names 'fcn'"):
        load_state_dict(model, "fcn", state)
    np.testing.assert_array_equal(model.blocks[0].layers[0].kernel[...], before)
