"""Networks against PyTorch with the same state dict and unpadded images: logits, class maps, all gradients."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from fcnjax import Padded, models
from fcnjax.models.weights.torch_names import pytorch_names
from fcnjax.models.weights.torch_weights import create_from_state_dict, load_state_dict

torch = pytest.importorskip("torch")
import torch_convnext  # noqa: E402
import torch_efficientnet  # noqa: E402
from torch_layers import assert_near, from_torch, to_torch  # noqa: E402
from torch_resnet import ResNet  # noqa: E402

CLASSES, CHANNELS = 5, 3
CLASS_WEIGHTS = np.linspace(1, -0.5, CLASSES)[None]  # linear: a curve would amplify the rounding of large logits
# Small versions: our options, and the same network in PyTorch.
NETWORKS = {
    "resnet18": ({"width": 8}, lambda: ResNet((2, 2, 2, 2), False, 8, CLASSES, CHANNELS)),
    "resnet34": ({"width": 8}, lambda: ResNet((3, 4, 6, 3), False, 8, CLASSES, CHANNELS)),
    "resnet50": ({"width": 8}, lambda: ResNet((3, 4, 6, 3), True, 8, CLASSES, CHANNELS)),
    "efficientnet_b0": (
        {"width": 0.25, "depths": (1, 2, 2, 1, 2, 1, 1)},
        lambda: torch_efficientnet.EfficientNet(
            8, (8, 8, 16, 24, 32, 48, 80), (1, 2, 2, 1, 2, 1, 1), CLASSES, CHANNELS
        ),
    ),
    "convnext_atto": (
        {"width": 8, "depths": (1, 2, 2, 1)},
        lambda: torch_convnext.ConvNeXt(8, (1, 2, 2, 1), CLASSES, CHANNELS),
    ),
}
TIMM = {"efficientnet_b0": torch_efficientnet.timm_names, "convnext_atto": torch_convnext.timm_names}
# Sizes: odd and even; at and just above the total stride of 32; just below and at the padded shape.
PADDED_SHAPE = (40, 38)
SIZES = [(33, 38), (40, 37), (32, 35)]
long = functools.partial(pytest.param, marks=pytest.mark.long)
SMALLEST = {"convnext_atto": (32, 32)}  # for the other networks, one pixel


def make_reference(arch: str):
    """Returns PyTorch's network with random weights, biases, statistics and layer scales, in float64."""
    torch.manual_seed(0)
    network = NETWORKS[arch][1]().double().eval()
    generator = torch.Generator().manual_seed(0)
    for name, tensor in network.state_dict().items():
        if tensor.ndim > 1 and name.endswith("weight"):  # keeps values and gradients of order 1
            torch.nn.init.kaiming_normal_(tensor, nonlinearity="relu")
        elif tensor.is_floating_point():
            drawn = torch.rand(tensor.shape, generator=generator, dtype=torch.float64)
            tensor.copy_(drawn + 0.5 if name.endswith(("weight", "var", "scale")) else drawn - 0.5)
    return network


def state_of(network) -> dict[str, np.ndarray]:
    return {name: tensor.numpy() for name, tensor in network.state_dict().items()}


def make_ours(arch: str, state: dict[str, np.ndarray], **options):
    """Returns our network with a state dict, in float64."""
    model = models.create(arch, classes=CLASSES, in_channels=CHANNELS, rngs=nnx.Rngs(0), **NETWORKS[arch][0], **options)
    graphdef, variables = nnx.split(model)
    model = nnx.merge(graphdef, jax.tree.map(lambda array: array.astype(np.float64), variables))
    return load_state_dict(model, arch, state)


def reference_maps(reference, x) -> np.ndarray:
    """Returns [*S, K], PyTorch's classifier at every position of its features."""
    (*_, classifier) = (module for module in reference.modules() if isinstance(module, torch.nn.Linear))
    with torch.no_grad():
        return classifier(reference.features(x).permute(0, 2, 3, 1)).numpy()[0]


def assert_close(actual, expected, dtype, what: str, min_scale: float = 0.0):
    """Calls `assert_near`, relative to the largest expected value or to `min_scale`."""
    scale = max(float(np.abs(expected).max()), min_scale)
    assert scale > 0, f"{what}: is 0 everywhere: nothing was tested"
    assert_near(np.asarray(actual) / scale, expected / scale, dtype, what)


def flat(state) -> dict[str, np.ndarray]:
    return {".".join(map(str, path)): np.asarray(leaf[...]) for path, leaf in nnx.to_flat_state(state)}


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("arch", NETWORKS)
def test_logits_class_maps_and_gradients(arch, dtype):
    reference = make_reference(arch)
    with jax.enable_x64(True):
        model = make_ours(arch, state_of(reference))
        has_maps = not model.head.class_maps_obstacle()
        graphdef, weights, rest = nnx.split(model, nnx.Param, ...)
        names = pytorch_names(arch, flat(nnx.state(model)), reference.state_dict())
        weights, rest = jax.tree.map(lambda array: array.astype(dtype), (weights, rest))
        rng = np.random.default_rng(1)
        sizes = [*SIZES, SMALLEST.get(arch, (1, 1))]
        examples = [rng.normal(size=(*size, CHANNELS)).astype(dtype) for size in sizes]
        batch = Padded.stack(examples, shape=PADDED_SHAPE, batch_size=len(examples) + 1)

        @jax.jit
        def total(weights, values):
            network = nnx.merge(graphdef, weights, rest)
            logits = network(Padded(values, batch.sizes))
            maps = network.class_maps(Padded(values, batch.sizes)) if has_maps else None
            return jnp.sum(logits * CLASS_WEIGHTS.astype(dtype)), (logits, maps)

        (_, (logits, maps)), (weight_gradient, gradient) = jax.value_and_grad(total, (0, 1), has_aux=True)(
            weights, batch.values
        )
        inputs = Padded(gradient, batch.sizes).unstack()
        ours = flat(weight_gradient)
    reference = reference.float() if dtype is np.float32 else reference
    for index, example in enumerate(examples):
        x = to_torch(torch, example)
        y = reference(x)
        (y * torch.tensor(CLASS_WEIGHTS.astype(dtype))).sum().backward()
        assert_close(logits[index], y.detach().numpy()[0], dtype, f"logits of size {example.shape}")
        assert_close(inputs[index], from_torch(x.grad), dtype, f"input gradient of size {example.shape}")
        if maps is not None:
            expected = reference_maps(reference, x.detach())
            assert_close(maps.unstack()[index], expected, dtype, f"class maps of size {example.shape}")
    theirs = {name: weight.grad.numpy() for name, weight in reference.named_parameters()}
    assert {names[name] for name in ours} == set(theirs)
    # A minimum relative to the largest gradient, because some gradients are sums that nearly cancel.
    min_scale = 1e-3 * max(np.abs(expected).max() for expected in theirs.values())
    for name, computed in ours.items():
        expected = theirs[names[name]]
        expected = np.moveaxis(expected, (0, 1), (-1, -2)) if expected.ndim > 1 else expected
        assert_close(computed, expected.reshape(computed.shape), dtype, f"gradient of {names[name]}", min_scale)


@pytest.mark.parametrize("border", [*map(long, ("replicate", "circular")), "reflect"])
def test_weights_of_zero_borders_load_with_any_border(border):
    reference, rng = make_reference("resnet18"), np.random.default_rng(1)
    for module in reference.modules():
        if isinstance(module, torch.nn.Conv2d) and max(module.padding) > 0:
            module.padding_mode = border
    examples = [rng.normal(size=(*size, CHANNELS)) for size in ((33, 38), (40, 37))]
    with jax.enable_x64(True):
        model = make_ours("resnet18", state_of(reference), border=border)
        logits = jax.jit(lambda batch: model(batch))(Padded.stack(examples, shape=PADDED_SHAPE))
    for ours, example in zip(logits, examples, strict=True):
        expected = reference(to_torch(torch, example)).detach().numpy()[0]
        assert_close(ours, expected, np.float64, f"logits of size {example.shape}")


@pytest.mark.parametrize("arch", TIMM)
def test_timms_names_give_the_same_network(arch):
    state = state_of(make_reference(arch))
    renamed = {TIMM[arch](name): tensor for name, tensor in state.items()}
    assert not renamed.keys() & {name for name in state if not name.startswith("classifier")}
    if arch == "convnext_atto":  # some versions have dense layers, some 1x1 convolutions; scales are vectors
        renamed = {
            name: tensor[..., None, None] if "mlp" in name and tensor.ndim == 2 else tensor
            for name, tensor in renamed.items()
        }
        renamed = {name: tensor.ravel() if "gamma" in name else tensor for name, tensor in renamed.items()}
    with jax.enable_x64(True):
        first, second = (flat(nnx.state(make_ours(arch, given))) for given in (state, renamed))
    jax.tree.map(np.testing.assert_array_equal, first, second)


@pytest.mark.parametrize("arch", NETWORKS)
def test_classes_and_channels_are_those_of_the_weights(arch):
    model = create_from_state_dict(arch, state_of(make_reference(arch)), **NETWORKS[arch][0])
    assert model.in_channels == model.blocks[0].layers[0].kernel.shape[-2] == CHANNELS
    assert model.head.layers[-1].kernel.shape[-1] == CLASSES


def test_a_state_dict_that_does_not_fit_is_refused():
    state = state_of(make_reference("resnet18"))
    model = models.create("resnet18", classes=CLASSES, in_channels=CHANNELS, width=8, rngs=nnx.Rngs(0))
    before = np.asarray(model.blocks[0].layers[0].kernel[...])
    changed = {"fc.extra" if name == "fc.bias" else name: array for name, array in state.items()}
    with pytest.raises(ValueError, match=r"missing fc\.bias; surplus fc\.extra\. Nothing was loaded"):
        load_state_dict(model, "resnet18", changed)
    with pytest.raises(ValueError, match=r"fc\.weight of shape \(7, 64\): this resnet18 needs head.*\(64, 5\)"):
        load_state_dict(model, "resnet18", {**state, "fc.weight": np.zeros((7, 64))})
    with pytest.raises(ValueError, match="unknown architecture with PyTorch names 'fcn'"):
        load_state_dict(model, "fcn", state)
    with pytest.raises(ValueError, match=r"convnext_tiny \(.*missing .*surplus bn1\.bias"):
        create_from_state_dict("convnext_tiny", state)
    np.testing.assert_array_equal(model.blocks[0].layers[0].kernel[...], before)
