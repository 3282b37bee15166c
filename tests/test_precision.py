"""Products of float32 arrays are computed at full precision unless TF32 is asked for."""

import jax
import jax.extend
import jax.numpy as jnp
import pytest
from flax import nnx
from jax.lax import Precision

from fcnjax import Padded, models
from fcnjax.precision import PRECISIONS
from fcnjax.training.compile.compilation import CompileSettings, jit
from fcnjax.training.step.step import merge, split

PRODUCTS = ("dot_general", "conv_general_dilated")


def precisions(jaxpr) -> set:
    """Returns the precisions of all products of a jaxpr, those inside other equations included."""
    found = set()
    for equation in jaxpr.eqns:
        if equation.primitive.name in PRODUCTS:
            found.add(equation.params["precision"])
        for inner in jax.extend.core.jaxprs_in_params(equation.params):
            found |= precisions(inner)
    return found


def gradient_precisions(dtype: str, settings: CompileSettings | None = None) -> set:
    """Returns the precisions of the products of a network and its gradients that a GPU would compute."""
    model = models.create("resnet_cifar", depth=8, width=4, classes=3, in_channels=1, dtype=dtype, rngs=nnx.Rngs(0))
    graphdef, weights, statistics = split(model)
    batch = Padded.stack([jnp.ones((9, 8, 1))])

    def gradient(weights, statistics):
        return jax.grad(lambda weights: jnp.sum(merge(graphdef, weights, statistics)(batch, train=True)))(weights)

    compiled = jax.jit(gradient) if settings is None else jit(gradient, settings=settings)
    return precisions(compiled.trace(weights, statistics).jaxpr.jaxpr)


def test_a_network_multiplies_float32_at_full_precision():
    found = gradient_precisions("float32")
    assert (Precision.HIGHEST, Precision.HIGHEST) in found
    assert found <= {(Precision.HIGHEST, Precision.HIGHEST), None}  # None: the branch of a CPU, which has no TF32


def test_the_setting_of_jax_comes_first():
    with jax.default_matmul_precision("tensorfloat32"):
        assert gradient_precisions("float32") == {(Precision.HIGH, Precision.HIGH)}


def test_products_of_bfloat16_do_not_change():
    found = gradient_precisions("bfloat16", CompileSettings())
    # the head's products are of float32 sums
    assert found == {(Precision.DEFAULT, Precision.DEFAULT), (Precision.HIGHEST, Precision.HIGHEST)}


@pytest.mark.parametrize("precision", PRECISIONS)
def test_the_recipe_chooses(precision):
    settings = CompileSettings(precision=precision)
    wanted = {"float32": Precision.HIGHEST, "tf32": Precision.HIGH}[precision]
    assert gradient_precisions("float32", settings) == {(wanted, wanted)}
    with jax.default_matmul_precision("bfloat16"):  # a setting of the user's environment does not reach a run
        assert gradient_precisions("float32", settings) == {(wanted, wanted)}
