"""Networks without pretrained weights, against the same network written with PyTorch's functions.

PyTorch sees each image unpadded. Logits, class maps, and the gradients of the input and of every weight are compared.
Sizes are odd and even, from the smallest that the network takes to just below and at the padded shape.
"""

import contract
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from fcnjax import Padded, models
from fcnjax.heads import make_head

torch = pytest.importorskip("torch")
from torch.nn import functional as F  # noqa: E402
from torch_layers import TOLERANCES, from_torch, to_torch  # noqa: E402

CLASSES, CHANNELS = 3, 2
CLASS_WEIGHTS = np.array([[[[1.0, 0.4, -0.7]]]])  # a linear loss: a curve would amplify the rounding of large scores
# In narrower networks, all activations die.
SMALL_FCN = {"width": 6, "depths": (1, 2, 1, 1, 1), "hidden": 12, "decoder": 4}


class Functions:
    """PyTorch's functions on the weights of our network, by our names; kernels [*taps, C, K] become [K, C, *taps]."""

    def __init__(self, leaves):
        self.leaves = leaves

    def kernel(self, name):
        kernel = self.leaves[f"{name}.kernel"]
        return kernel.permute(3, 2, 0, 1) if kernel.ndim == 4 else kernel.T[..., None, None]

    def conv(self, x, name, **options):
        return F.conv2d(x, self.kernel(name), self.leaves.get(f"{name}.bias"), **options)

    def norm(self, x, name):
        mean, variance = (self.leaves[f"{name}.{kind}"].detach() for kind in ("mean", "variance"))
        scale, bias = (self.leaves[f"{name}.{kind}"] for kind in ("scale", "bias"))
        return F.batch_norm(x, mean, variance, scale, bias, training=False, eps=1e-5)

    def up(self, x, name):
        return F.conv_transpose2d(x, self.leaves[f"{name}.kernel"].permute(2, 3, 0, 1), stride=2, padding=1)


def fcn(f, x):
    for block in range(2):
        x = f.conv(x, f"blocks.{block}.layers.0", stride=2, padding=1)
        x = F.gelu(f.norm(x, f"blocks.{block}.layers.1"), approximate="tanh")
    return f.conv(torch.relu(f.conv(x, "head.layers.0", padding=1)), "head.layers.2")


def fcn_of_stride_1(f, x, dilations, pool):
    for block, dilation in enumerate(dilations):
        x = F.pad(x, (dilation, 2 * dilation, dilation, 2 * dilation))
        x = F.gelu(f.conv(x, f"blocks.{block}.layers.0", dilation=dilation), approximate="tanh")
        x = F.max_pool2d(x, 2) if pool else x
    return f.conv(x, "head.layers.0")


def nin(f, x):
    for block, layers in enumerate(((0, 2, 4), (0, 2, 4), (0, 2))):
        for layer in layers:
            pads = (2, 0, 0) if block < 2 else (1, 0)
            x = torch.relu(f.conv(x, f"blocks.{block}.layers.{layer}", padding=pads[layer // 2]))
        if block < 2:
            x = (F.max_pool2d, F.avg_pool2d)[block](x, 3, 2, ceil_mode=True)
    return torch.relu(f.conv(x, "head.layers.0"))


def all_cnn_c(f, x):
    for block in range(2):
        for layer, stride in ((0, 1), (2, 1), (4, 2)):
            x = torch.relu(f.conv(x, f"blocks.{block}.layers.{layer}", padding=1, stride=stride))
    x = torch.relu(f.conv(x, "blocks.2.layers.0"))
    return torch.relu(f.conv(torch.relu(f.conv(x, "blocks.3.layers.0")), "head.layers.0"))


def resnet_cifar(f, x):
    x = torch.relu(f.norm(f.conv(x, "blocks.0.layers.0", padding=1), "blocks.0.layers.1"))
    for stage in (1, 2, 3):
        branch, shortcut = (f"blocks.{stage}.layers.0.branches.{way}.layers" for way in range(2))
        stride = 1 if stage == 1 else 2
        y = torch.relu(f.norm(f.conv(x, f"{branch}.0", stride=stride, padding=1), f"{branch}.1"))
        y = f.norm(f.conv(y, f"{branch}.3", padding=1), f"{branch}.4")
        x = x if stage == 1 else f.norm(f.conv(x, f"{shortcut}.0", stride=stride), f"{shortcut}.1")
        x = torch.relu(x + y)
    return f.conv(x, "head.layers.0")


def dense_fcn(f, x, finest):
    """Returns class maps: the encoder of SMALL_FCN, then down the skip connections and up again."""
    depths, first = SMALL_FCN["depths"], {8: 3, 32: 5}[finest]

    def stage(x, name, depth):
        for layer in range(depth):
            x = torch.relu(f.conv(x, f"{name}.layers.{2 * layer}", padding=1))
        return F.max_pool2d(x, 2, ceil_mode=True)

    def deep(x, name, at):
        x = torch.relu(f.conv(x, f"{name}.{at}", padding=3))
        x = torch.relu(f.conv(x, f"{name}.{at + 3}"))  # a dropout follows each ReLU
        return f.conv(x, f"{name}.{at + 6}")

    def skip(x, name, level):
        inner = f"{name}.branch.layers"
        coarse, after = stage(x, f"{name}.branch", depths[level]), 2 * depths[level] + 1
        if level + 1 < len(depths):
            coarse, last = skip(coarse, f"{inner}.{after}", level + 1), after + 1
        else:
            coarse, last = deep(coarse, inner, after), after + 7
        up = f.up(coarse, f"{inner}.{last}")[..., : x.shape[2], : x.shape[3]]
        return up + f.conv(x, f"{name}.shortcut.layers.0")

    extent = x.shape[2:]
    for level in range(first):
        x = stage(x, f"blocks.{level}", depths[level])
    decoder = f"blocks.{first}.layers"
    x = skip(x, f"{decoder}.0", first) if first < len(depths) else deep(x, decoder, 0)
    x = F.interpolate(x, scale_factor=finest, mode="bilinear")[..., : extent[0], : extent[1]]
    return f.conv(x, "head.layers.0")


PLAIN_FCN = {"channels": (4, 6, 5), "activation": "gelu", "norm": "none"}
# name and variant -> (options, function that returns class maps, smallest size)
NETWORKS = {
    "fcn": (
        {"channels": (4, 6), "activation": "gelu", "head": {"hidden": (5,), "kernel": 3}},
        fcn,
        (4, 4),
    ),
    "fcn, max_pool": (
        PLAIN_FCN | {"downsampling": "max_pool"},
        lambda f, x: fcn_of_stride_1(f, x, (1, 1, 1), True),
        (8, 8),
    ),
    "fcn, dilation": (
        PLAIN_FCN | {"downsampling": "dilation"},
        lambda f, x: fcn_of_stride_1(f, x, (1, 2, 4), False),
        (1, 1),
    ),
    "fcn, none": (PLAIN_FCN | {"downsampling": "none"}, lambda f, x: fcn_of_stride_1(f, x, (1, 1, 1), False), (1, 1)),
    "nin": ({"width": 6}, nin, (4, 4)),
    "all_cnn_c": ({"width": 4}, all_cnn_c, (9, 9)),
    "resnet_cifar": ({"depth": 8, "width": 6}, resnet_cifar, (1, 1)),
    "fcn8s": (SMALL_FCN, lambda f, x: dense_fcn(f, x, 8), (1, 1)),
    "fcn32s": (SMALL_FCN, lambda f, x: dense_fcn(f, x, 32), (1, 1)),
}


def named(state) -> dict[str, np.ndarray]:
    return {".".join(map(str, path)): np.asarray(leaf[...]) for path, leaf in nnx.to_flat_state(state)}


def assert_close(actual, expected, dtype, what):
    scale = np.abs(expected).max()
    assert scale > 0, f"{what}: is 0 everywhere: nothing was tested"
    error = np.abs(np.asarray(actual, np.float64) - expected).max() / scale
    assert error <= TOLERANCES[dtype], f"{what}: relative difference {error:.2e}"


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("name", NETWORKS)
def test_logits_class_maps_and_gradients(name, dtype):
    options, reference, smallest = NETWORKS[name]
    sizes = [smallest, (23, 24), (24, 17), (16, 9)]
    with jax.enable_x64(dtype is np.float64):
        model = models.create(name.split(",")[0], classes=CLASSES, in_channels=CHANNELS, rngs=nnx.Rngs(0), **options)
        graphdef, weights, rest = nnx.split(contract.randomize(model), nnx.Param, ...)
        weights, rest = (jax.tree.map(lambda array: array.astype(dtype), tree) for tree in (weights, rest))
        rng = np.random.default_rng(1)
        examples = [rng.normal(size=(*size, CHANNELS)).astype(dtype) for size in sizes]
        batch = Padded.stack(examples, shape=(24, 24), batch_size=len(examples) + 1)

        @jax.jit
        def total(weights, values):
            network, batch_ = nnx.merge(graphdef, weights, rest), Padded(values, batch.sizes)
            maps = network.class_maps(batch_)
            return jnp.sum(maps.values * CLASS_WEIGHTS.astype(dtype)), (maps, network(batch_))

        (_, (maps, logits)), (weight_gradients, gradient) = jax.value_and_grad(total, (0, 1), has_aux=True)(
            weights, batch.values
        )
        inputs, maps = Padded(gradient, batch.sizes).unstack(), maps.unstack()
        ours, state = named(weight_gradients), {**named(weights), **named(rest)}
    leaves = {key: torch.tensor(value, requires_grad=True) for key, value in state.items()}
    for index, example in enumerate(examples):
        x, what = to_torch(torch, example), f"of size {example.shape}"
        y = reference(Functions(leaves), x)
        (y * torch.tensor(CLASS_WEIGHTS.astype(dtype)).reshape(1, -1, 1, 1)).sum().backward()
        assert_close(maps[index], from_torch(y), dtype, f"class maps {what}")
        assert_close(logits[index], y.detach().numpy()[0].mean((1, 2)), dtype, f"logits {what}")
        assert_close(inputs[index], from_torch(x.grad), dtype, f"input gradient {what}")
    assert ours.keys() <= leaves.keys()
    for key, computed in ours.items():
        assert_close(computed, leaves[key].grad.numpy(), dtype, f"gradient of {key}")


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_a_flatten_dense_head(dtype):
    with jax.enable_x64(dtype is np.float64):
        head = contract.randomize(make_head(4, CLASSES, {"flatten": (3, 5), "hidden": (6,)}, rank=2, rngs=nnx.Rngs(0)))
        graphdef, weights = nnx.split(head)
        weights = jax.tree.map(lambda array: array.astype(dtype), weights)
        example = np.random.default_rng(2).normal(size=(3, 5, 4)).astype(dtype)
        logits = nnx.merge(graphdef, weights)(Padded.stack([example], shape=(6, 6), batch_size=2))
    leaves = {name: torch.tensor(value) for name, value in named(weights).items()}
    flat = torch.tensor(example).reshape(1, -1)  # [H, W, C] row-major
    hidden = torch.relu(F.linear(flat, leaves["stack.layers.1.kernel"].T, leaves["stack.layers.1.bias"]))
    expected = F.linear(hidden, leaves["stack.layers.3.kernel"].T, leaves["stack.layers.3.bias"])
    assert_close(logits[0], expected.numpy()[0], dtype, "logits")
