"""The convolution of JAX's library, with the axes in the order of this package.

Axes: B batch, S spatial, C input channels, K output channels.
"""

from collections.abc import Sequence
from typing import Any

import jax
from jax import lax

from fcnjax.precision import product_precision

_AXES = {1: ("NHC", "HIO", "NHC"), 2: ("NHWC", "HWIO", "NHWC"), 3: ("NDHWC", "DHWIO", "NDHWC")}  # by rank


def library_convolution(
    values: jax.Array, kernel: jax.Array, strides: Sequence[int], pads: Any, **options: Any
) -> jax.Array:
    """Returns the cross-correlation [B, *S', K] of values [B, *S, C] with a kernel [*taps, C / groups, K].

    Args:
        values: [B, *S, C].
        kernel: [*taps, C / groups, K].
        strides: one per spatial axis.
        pads: "VALID", or one (before, after) pair per spatial axis.
        **options: dilations and groups, as for `lax.conv_general_dilated`.
    """
    options |= {"dimension_numbers": _AXES[len(strides)], "precision": product_precision(values)}
    return lax.conv_general_dilated(values, kernel, strides, pads, **options)
