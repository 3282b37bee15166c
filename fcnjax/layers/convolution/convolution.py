"""Convolution over one to three spatial axes, with a choice of borders at each example's own edge.

Axes: B batch, S spatial, C input channels, K output channels.
"""

from collections.abc import Sequence

from flax import nnx

from fcnjax import geometry
from fcnjax.geometry import Padding
from fcnjax.layers.convolution.borders import convolve_with_border, with_border
from fcnjax.layers.layer import WindowedLayer
from fcnjax.layers.linear import LinearLayer
from fcnjax.padded import Padded


class Convolution(WindowedLayer, LinearLayer):
    """Convolution with explicit pads: what an example sees beyond its own edge does not depend on the padded shape.

    Args:
        in_channels: C.
        channels: K.
        kernel: taps, one int or one per spatial axis.
        rank: number of spatial axes, 1 to 3.
        stride: one int or one per axis.
        dilation: one int or one per axis.
        padding: `'same'` (symmetric, odd extents), `'valid'`, an int, or ints or (before, after) pairs per axis.
        groups: number of channel groups; must divide C and K (`groups=C` is depthwise).
        border: what a window sees in the pads: "zero", "partial", "replicate", "reflect" (for examples larger than the
            pads), "circular" (for examples at least as large as the pads), or "valid" for no pads (see `borders.py`).
        bias: whether to add a learned constant per output channel.
        rngs: source of the initial weights (He uniform; zero bias).

    Attributes:
        kernel: parameter [*kernel, C / groups, K].
        bias: parameter [K], or None.

    Raises:
        ValueError: if a number of channels is below 1, `rank` is not 1 to 3, `padding` is not exact (`'SAME'` with a
            stride), `groups` does not divide the channels, or the border is unknown.

    Source: the cross-correlation of `jax.lax.conv_general_dilated`; `dispatch.py` chooses how to compute it. "partial"
    is Liu et al., "Partial Convolution based Padding", 2018.

    >>> import jax.numpy as jnp
    >>> conv = Convolution(1, 8, 4, stride=2, padding=1, rngs=nnx.Rngs(0))
    >>> conv(Padded.stack([jnp.ones((28, 16, 1))])).sizes.tolist()
    [[14, 8]]
    """

    def __init__(
        self,
        in_channels: int,
        channels: int,
        kernel: int | Sequence[int],
        *,
        rank: int = 2,
        stride: int | Sequence[int] = 1,
        dilation: int | Sequence[int] = 1,
        padding: Padding = 0,
        groups: int = 1,
        border: str = "zero",
        bias: bool = True,
        rngs: nnx.Rngs,
    ):
        super().__init__(with_border(geometry.windows(rank, kernel, stride, dilation, padding), border))
        self.border = border
        taps = [window.kernel for window in self._windows]
        self._make_weights(taps, in_channels, channels, groups=groups, bias=bias, rngs=rngs)

    def transform(self, batch: Padded) -> Padded:
        sizes = self.out_sizes(batch)
        values = convolve_with_border(batch, self._kernel_for(batch), self._windows, self.groups, self.border)
        return batch.replace(self._with_bias(values), sizes)
