"""The product rule of functions that are linear in each of their arguments."""

import functools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jax.custom_derivatives import SymbolicZero


def product_rule(out: jax.Array, *parts: tuple[Any, Callable[[jax.Array], jax.Array]]) -> tuple[jax.Array, jax.Array]:
    """Returns `out` and its tangent, as a rule of `defjvp(..., symbolic_zeros=True)` does.

    Args:
        out: the value of the function.
        *parts: for each argument its tangent, and the function of this argument alone. A tangent that is known to be
            zero is not computed.
    """
    terms = [linear(tangent) for tangent, linear in parts if not isinstance(tangent, SymbolicZero)]
    return out, functools.reduce(jnp.add, terms) if terms else jnp.zeros_like(out)
