"""Norms, squeeze-and-excite and log-softmax against PyTorch, one unpadded example at a time."""

from collections.abc import Callable
from typing import NamedTuple

import contract
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from fcnjax import Padded, layers

torch = pytest.importorskip("torch")
F = torch.nn.functional
CHANNELS, GROUPS, REDUCED = 4, 2, 3
SIZES = {  # odd, even, and one pixel
    1: [(7,), (4,), (1,)],
    2: [(5, 4), (2, 7), (1, 1)],
    3: [(3, 2, 4), (1, 3, 2), (1, 1, 1)],
}
TOLERANCE = {"float32": 2e-5, "float64": 1e-9}


class Case(NamedTuple):
    """A layer and its counterpart in PyTorch, a function of one example [1, C, *S] and the variables by name."""

    make: Callable[[nnx.Rngs], layers.Layer]
    expected: Callable
    one_pixel: bool = True  # False if PyTorch rejects a single position


def batch_norm(x, v):
    return F.batch_norm(x, v["mean"], v["variance"], v["scale"], v["bias"], training=False, eps=1e-5)


def over_channels(norm):
    return lambda x, v: norm(x.movedim(1, -1), v).movedim(-1, 1)


def global_response_norm(x, v):
    response = torch.linalg.vector_norm(x, dim=tuple(range(2, x.ndim)), keepdim=True)
    share = response / (response.mean(1, keepdim=True) + 1e-6)
    return column(v["scale"], x) * (x * share) + column(v["bias"], x) + x


def squeeze_excite(x, v, activation=torch.relu, gate=torch.sigmoid):
    mean = x.mean(tuple(range(2, x.ndim)))
    hidden = activation(F.linear(mean, v["reduce.kernel"].T, v["reduce.bias"]))
    gates = gate(F.linear(hidden, v["expand.kernel"].T, v["expand.bias"]))
    return x * gates.reshape(gates.shape + (1,) * (x.ndim - 2))


def column(vector, x):
    return vector.reshape((1, -1) + (1,) * (x.ndim - 2))


CASES = {
    "batch norm": Case(lambda rngs: layers.BatchNorm(CHANNELS), batch_norm),
    "group norm": Case(
        lambda rngs: layers.GroupNorm(CHANNELS, GROUPS),
        lambda x, v: F.group_norm(x, GROUPS, v["scale"], v["bias"], eps=1e-5),
    ),
    "instance norm": Case(
        lambda rngs: layers.InstanceNorm(CHANNELS),
        lambda x, v: F.instance_norm(x, weight=v["scale"], bias=v["bias"], eps=1e-5),
        one_pixel=False,
    ),
    "instance norm without affine": Case(
        lambda rngs: layers.InstanceNorm(CHANNELS, affine=False, epsilon=1e-3),
        lambda x, v: F.instance_norm(x, eps=1e-3),
        one_pixel=False,
    ),
    "layer norm": Case(
        lambda rngs: layers.LayerNorm(CHANNELS),
        over_channels(lambda x, v: F.layer_norm(x, (CHANNELS,), v["scale"], v["bias"], eps=1e-6)),
    ),
    "rms norm": Case(
        lambda rngs: layers.RMSNorm(CHANNELS),
        over_channels(lambda x, v: F.rms_norm(x, (CHANNELS,), v["scale"], eps=1e-6)),
    ),
    "global response norm": Case(lambda rngs: layers.GlobalResponseNorm(CHANNELS), global_response_norm),
    "squeeze and excite": Case(lambda rngs: layers.SqueezeExcite(CHANNELS, REDUCED, rngs=rngs), squeeze_excite),
    "squeeze and excite of mobile nets": Case(
        lambda rngs: layers.SqueezeExcite(
            CHANNELS, REDUCED, activation=jax.nn.silu, gate=jax.nn.hard_sigmoid, rngs=rngs
        ),
        # Not F.hardsigmoid: its gradient uses a single-precision 1/6 even in float64 (PyTorch 2.13).
        lambda x, v: squeeze_excite(x, v, F.silu, lambda y: F.relu6(y + 3) / 6),
    ),
    "log softmax": Case(lambda rngs: layers.LogSoftmax(), lambda x, v: F.log_softmax(x, 1)),
}


@pytest.mark.parametrize("dtype", TOLERANCE)
@pytest.mark.parametrize("rank", SIZES)
@pytest.mark.parametrize("name", CASES)
def test_outputs_and_gradients_are_pytorch(name, rank, dtype):
    case = CASES[name]
    rng = np.random.default_rng(rank)
    sizes = SIZES[rank] if case.one_pixel else SIZES[rank][:-1]
    examples, cotangents = (
        [(scale * rng.normal(size=(*size, CHANNELS)) + shift).astype(dtype) for size in sizes]
        for scale, shift in ((2.0, 0.5), (1.0, 0.0))
    )
    with jax.enable_x64(dtype == "float64"):
        layer = contract.randomize(case.make(nnx.Rngs(0)), seed=10 + rank)
        variables = {
            ".".join(path): np.asarray(variable[...], dtype)
            for path, variable in nnx.to_flat_state(nnx.state(layer, (nnx.Param, nnx.BatchStat)))
        }
        actual = ours(layer, examples, cotangents)
    expected = in_torch(case.expected, variables, examples, cotangents)
    for (what, values), reference in zip(actual.items(), expected.values(), strict=True):
        assert values.dtype == dtype, f"{what}: {values.dtype}"
        assert relative_error(values, reference) <= TOLERANCE[dtype], f"{what}: {relative_error(values, reference):.1e}"


def ours(layer, examples, cotangents) -> dict[str, np.ndarray]:
    """Returns outputs and gradients of all examples in one padded batch, with their valid positions concatenated."""
    graphdef, weights, rest = nnx.split(layer, nnx.Param, ...)
    weights = jax.tree.map(lambda weight: weight.astype(examples[0].dtype), weights)
    batch, upstream = (Padded.stack(x, batch_size=len(examples) + 1) for x in (examples, cotangents))

    def apply(weights, values):
        return nnx.merge(graphdef, weights, rest)(Padded(values, batch.sizes)).values

    @jax.jit
    def apply_and_pull_back(weights, values, upstream):
        outputs, pull_back = jax.vjp(apply, weights, values)
        return outputs, *pull_back(upstream)

    outputs, weight_gradients, input_gradients = apply_and_pull_back(weights, batch.values, upstream.values)
    results = {"outputs": concatenated(Padded(outputs, batch.sizes).unstack())}
    results["input gradients"] = concatenated(Padded(input_gradients, batch.sizes).unstack())
    flat = nnx.to_flat_state(weight_gradients)
    return results | {f"gradient of {'.'.join(path)}": np.asarray(variable[...]) for path, variable in flat}


def in_torch(function, variables, examples, cotangents) -> dict[str, np.ndarray]:
    tensors = {name: torch.tensor(value) for name, value in variables.items()}
    weights = {name: tensor for name, tensor in tensors.items() if name not in ("mean", "variance")}
    for tensor in weights.values():
        tensor.requires_grad_()
    outputs, gradients = [], []
    for example, cotangent in zip(examples, cotangents, strict=True):
        # Contiguous: PyTorch 2.13 returns wrong gradients of F.instance_norm for a cotangent that is not contiguous.
        x, upstream = (torch.tensor(a).movedim(-1, 0)[None].contiguous() for a in (example, cotangent))
        y = function(x.requires_grad_(), tensors)
        y.backward(upstream)
        outputs.append(y.detach()[0].movedim(0, -1).numpy())
        gradients.append(x.grad[0].movedim(0, -1).numpy())
    results = {"outputs": concatenated(outputs), "input gradients": concatenated(gradients)}
    return results | {f"gradient of {name}": tensor.grad.numpy() for name, tensor in weights.items()}


def concatenated(examples) -> np.ndarray:
    return np.concatenate([example.reshape(-1, CHANNELS) for example in examples])


def relative_error(actual: np.ndarray, expected: np.ndarray) -> float:
    assert actual.shape == expected.shape
    assert np.abs(expected).max() > 1e-3, "the expected values are nearly 0: draw other weights"
    return float(np.abs(actual - expected).max() / np.abs(expected).max())


def test_instance_norm_of_one_position_is_its_bias():
    """PyTorch rejects such an example; a batch of native sizes may contain one and must stay finite."""
    norm = contract.randomize(layers.InstanceNorm(CHANNELS))
    out = norm(Padded.stack([np.full((1, 1, CHANNELS), 7.0, np.float32)]))
    np.testing.assert_array_equal(out.values[0, 0, 0], norm.bias[...])


@pytest.mark.parametrize("dtype", [jnp.bfloat16, jnp.float16])
@pytest.mark.parametrize("name", sorted(CASES.keys() - {"log softmax"}))
def test_half_precision_is_kept_but_not_used_for_statistics(name, dtype):
    layer = contract.randomize(CASES[name].make(nnx.Rngs(0)))
    examples = contract.draw_examples([(40, 30), (3, 5)], CHANNELS, seed=0)
    batch = Padded.stack([np.round(100 + 2 * x) for x in examples])  # exact in 8 bits, unlike their squares
    out = layer(Padded(batch.values.astype(dtype), batch.sizes)).values
    assert out.dtype == dtype
    expected = np.asarray(layer(batch).values)
    resolution = float(jnp.finfo(dtype).eps)
    np.testing.assert_allclose(np.asarray(out, np.float32), expected, rtol=resolution, atol=resolution)


def test_global_response_norm_of_silence_is_finite():
    """Dead channels, dead examples and filler rows: there, the gradient of the L2 norm would be infinite."""
    norm = contract.randomize(layers.GlobalResponseNorm(CHANNELS))
    examples = contract.draw_examples([(3, 4), (2, 2)], CHANNELS, seed=0)
    examples[0][..., 1], examples[1][...] = 0, 0
    batch = Padded.stack(examples, batch_size=3)
    outcome = contract.run(norm, batch)
    np.testing.assert_allclose(outcome.outputs[1], np.broadcast_to(norm.bias[...], (2, 2, CHANNELS)))
    for leaf in jax.tree.leaves((outcome.outputs, outcome.input_gradient, outcome.weight_gradients)):
        assert np.isfinite(leaf).all()


def test_global_response_norm_starts_as_the_identity():
    batch = Padded.stack(contract.draw_examples([(3, 4), (2, 2)], CHANNELS, seed=0))
    np.testing.assert_array_equal(layers.GlobalResponseNorm(CHANNELS)(batch).values, batch.values)


@pytest.mark.parametrize(("ratio", "tolerance"), [(10, 3e-6), (100, 6e-5)])
@pytest.mark.parametrize("size", [(7, 5), (32, 32), (200, 150)])
def test_a_fresh_batch_norm_far_from_the_batchs_mean_is_pytorch(size, ratio, tolerance):
    """`ratio` is the mean over the deviation. The tolerances are ten times the errors of PyTorch in float32."""
    rng = np.random.default_rng(ratio)
    examples = [(ratio + rng.normal(size=(*extent, CHANNELS))).astype(np.float32) for extent in (size, size[::-1])]
    cotangents = [rng.normal(size=example.shape).astype(np.float32) for example in examples]
    graphdef, weights, statistics = nnx.split(layers.BatchNorm(CHANNELS, momentum=0.0), nnx.Param, nnx.BatchStat)
    weights, statistics = nnx.to_pure_dict(weights), nnx.to_pure_dict(statistics)
    batch, upstream = (Padded.stack(x, batch_size=3) for x in (examples, cotangents))

    @jax.jit
    def ours(weights, values):
        def functional(weights, values):
            norm = nnx.merge(graphdef, weights, statistics)
            out = norm(Padded(values, batch.sizes), train=True).values
            return jnp.sum(out * upstream.values), (out, norm.mean[...], norm.variance[...])

        (_, out), gradients = jax.value_and_grad(functional, (0, 1), has_aux=True)(weights, values)
        return *out, gradients[0]["scale"], gradients[1]

    out, mean, variance, of_scale, of_values = ours(weights, batch.values)
    actual = {
        "outputs": concatenated(Padded(out, batch.sizes).unstack()),
        "mean": mean,
        "variance": variance,
        "scale gradient": of_scale,
        "input gradient": concatenated(Padded(of_values, batch.sizes).unstack()),
    }
    expected = fresh_batch_norm_in_torch(concatenated(examples), concatenated(cotangents))
    for what, values in actual.items():
        error = relative_error(np.asarray(values), expected[what])
        assert error <= tolerance, f"{what}: {error:.1e}"


def fresh_batch_norm_in_torch(values, cotangent) -> dict[str, np.ndarray]:
    """Returns what PyTorch computes in float64 from all valid positions [N, C]."""
    x, upstream = torch.tensor(values, dtype=torch.float64, requires_grad=True), torch.tensor(cotangent)
    norm = torch.nn.BatchNorm1d(CHANNELS, momentum=1.0, dtype=torch.float64)
    out = norm(x)
    out.backward(upstream.double())
    return {
        "outputs": out.detach().numpy(),
        "mean": norm.running_mean.numpy(),
        "variance": norm.running_var.numpy(),
        "scale gradient": norm.weight.grad.numpy(),
        "input gradient": x.grad.numpy(),
    }
