"""Global pools against PyTorch's functions and gradients in float64, one unpadded example at a time."""

import contract
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from fcnjax import Padded, pooling

torch = pytest.importorskip("torch")

C = 4


def softmax_mean(x, scores):
    weights = torch.softmax(scores, dim=0).repeat_interleave(x.shape[1] // scores.shape[1], dim=1)
    return (weights * x).sum(0)


def logsumexp(x, r):
    return (torch.logsumexp(r * x, dim=0) - np.log(len(x))) / r


def noisy_or(x):
    """Returns log(1 - prod) - log(prod), from PyTorch's log-sigmoids."""
    absent = torch.nn.functional.logsigmoid(-x).sum(0)
    return torch.log(-torch.expm1(absent)) - absent


def linear_softmax(x):
    p = torch.relu(x)
    return (p * p).sum(0) / p.sum(0).clamp_min(1e-300)


# name -> (options of the pool, oracle); the oracle maps x [N, C] and the weights by name to [C]
ORACLES = {
    "logsumexp_learnable": ({"r": 2.0}, lambda x, w: logsumexp(x, w["log_r"].exp())),
    "attention": ({}, lambda x, w: softmax_mean(x, x @ w["kernel"])),
    "attention of heads": ({"heads": 2}, lambda x, w: softmax_mean(x, x @ w["kernel"])),
    "attention of channels": ({"heads": C}, lambda x, w: softmax_mean(x, x @ w["kernel"])),
    "auto": ({}, lambda x, w: softmax_mean(x, w["alpha"] * x)),
    "noisy_or": ({}, lambda x, w: noisy_or(x)),
    "linear_softmax": ({}, lambda x, w: linear_softmax(x)),
    "top_k": ({"k": 3}, lambda x, w: x.topk(min(3, len(x)), dim=0).values.mean(0)),
    "logsumexp": ({}, lambda x, w: logsumexp(x, 5.0)),
    "gem": ({"p": 2.5}, lambda x, w: (x.clamp_min(1e-6) ** 2.5).mean(0) ** (1 / 2.5)),
    "mean": ({}, lambda x, w: x.mean(0)),
    "max": ({}, lambda x, w: x.amax(0)),
}


@pytest.mark.parametrize("name", ORACLES)
def test_values_and_gradients_are_pytorchs(name):
    options, oracle = ORACLES[name]
    how = pooling.create(name.split(" ")[0], channels=C, rngs=nnx.Rngs(0), **options)
    learnable = isinstance(how, nnx.Module)
    weights = nnx.to_pure_dict(nnx.state(contract.randomize(how, seed=1))) if learnable else {}
    examples = contract.draw_examples([(5, 3), (1, 1), (2, 7)], channels=C, seed=2)
    cotangent = np.random.default_rng(3).normal(size=(4, C)).astype(np.float32)
    batch = Padded.stack(examples, shape=(6, 9), batch_size=4)

    def functional(values, weights):
        merged = nnx.merge(nnx.graphdef(how), weights) if learnable else how
        pooled = pooling.pool(Padded(values, batch.sizes), merged).values.reshape(4, C)
        return jnp.sum(pooled * cotangent), pooled

    gradient = jax.jit(jax.value_and_grad(functional, argnums=(0, 1), has_aux=True))
    (_, pooled), (of_values, of_weights) = gradient(batch.values, weights)
    of_examples = Padded(of_values, batch.sizes).unstack()

    inputs = [torch.tensor(x, dtype=torch.float64, requires_grad=True) for x in examples]
    tensors = {n: torch.tensor(np.asarray(a), dtype=torch.float64, requires_grad=True) for n, a in weights.items()}
    expected = torch.stack([oracle(x.reshape(-1, C), tensors) for x in inputs])
    (expected * torch.tensor(cotangent[:3])).sum().backward()
    contract.assert_close(pooled[:3], expected.detach().numpy(), "pooled")
    contract.assert_close(of_examples, [x.grad.numpy() for x in inputs], "gradient of the values")
    contract.assert_close(of_weights, {n: t.grad.numpy() for n, t in tensors.items()}, "gradient of the weights")
