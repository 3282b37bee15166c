"""The FCN with every border that PyTorch has (`padding_mode`), one unpadded image at a time: logits, all gradients."""

import contract
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from fcnjax import Padded, models

torch = pytest.importorskip("torch")
from torch_layers import assert_near, from_torch, kernel_to_torch, to_torch  # noqa: E402

WIDTHS, CLASSES = (2, 4, 6, 8), 3
MODES = {"replicate": "replicate", "reflect": "reflect", "circular": "circular", "valid": "zeros"}
SIZES = [(28, 23), (25, 28)]


def make_reference(weights, border: str):
    """Returns PyTorch's FCN in evaluation, with our weights, and its modules by our names."""
    layers, names = [], {}
    for index in range(len(WIDTHS) - 1):
        conv = torch.nn.Conv2d(
            *WIDTHS[index : index + 2], 4, 2, 0 if border == "valid" else 1, bias=False, padding_mode=MODES[border]
        )
        norm = torch.nn.BatchNorm2d(WIDTHS[index + 1])
        layers += [conv, norm, torch.nn.ReLU()]
        prefix = f"blocks.{index}.layers"
        names |= {f"{prefix}.0.kernel": conv.weight, f"{prefix}.1.scale": norm.weight, f"{prefix}.1.bias": norm.bias}
        norm.running_mean.copy_(torch.tensor(weights[f"{prefix}.1.mean"]))
        norm.running_var.copy_(torch.tensor(weights[f"{prefix}.1.variance"]))
    linear = torch.nn.Conv2d(WIDTHS[-1], CLASSES, 1)
    names |= {"head.layers.0.kernel": linear.weight, "head.layers.0.bias": linear.bias}
    network = torch.nn.Sequential(*layers, linear).double().eval()
    with torch.no_grad():
        for name, tensor in names.items():
            tensor.copy_(torch.tensor(in_torch(weights[name])).reshape(tensor.shape))
    return network, names


def in_torch(array: np.ndarray) -> np.ndarray:
    return kernel_to_torch(array) if array.ndim > 1 else array


def flat(state) -> dict[str, np.ndarray]:
    return {".".join(map(str, path)): np.array(leaf[...]) for path, leaf in nnx.to_flat_state(state)}


@pytest.mark.parametrize("border", MODES)
def test_logits_and_gradients(border):
    with jax.enable_x64(True):
        options = {"channels": WIDTHS[1:], "border": border}
        model = contract.randomize(
            nnx.eval_shape(
                lambda: models.create("fcn", classes=CLASSES, in_channels=WIDTHS[0], rngs=nnx.Rngs(0), **options)
            )
        )
        graphdef, weights, statistics = nnx.split(model, nnx.Param, ...)
        weights, statistics = jax.tree.map(lambda array: array.astype(np.float64), (weights, statistics))
        rng = np.random.default_rng(1)
        examples = [rng.normal(size=(*size, WIDTHS[0])) for size in SIZES]
        batch = Padded.stack(examples, shape=(33, 30), batch_size=3)

        @jax.jit
        def total(weights, values):
            logits = nnx.merge(graphdef, weights, statistics)(Padded(values, batch.sizes))
            return jnp.sum(jnp.sin(logits)), logits

        (_, logits), (ours, inputs) = jax.value_and_grad(total, (0, 1), has_aux=True)(weights, batch.values)
        inputs = Padded(inputs, batch.sizes).unstack()
    reference, names = make_reference(flat(weights) | flat(statistics), border)
    for index, example in enumerate(examples):
        x = to_torch(torch, example)
        y = reference(x).mean((2, 3))
        torch.sin(y).sum().backward()
        assert_near(logits[index], y.detach().numpy()[0], np.float64, f"logits of size {example.shape}")
        assert_near(inputs[index], from_torch(x.grad), np.float64, f"input gradient of size {example.shape}")
    assert flat(ours).keys() == names.keys()
    for name, gradient in flat(ours).items():
        expected = names[name].grad.numpy()
        assert_near(in_torch(gradient).reshape(expected.shape), expected, np.float64, f"gradient of {name}")
