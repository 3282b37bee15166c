"""Convolutions, borders and windowed pools against PyTorch, one unpadded example at a time, float32 and float64."""

import functools

import numpy as np
import pytest
from flax import nnx

from fcnjax import layers

torch = pytest.importorskip("torch")
from torch.nn import functional as F  # noqa: E402
from torch_layers import check_layer  # noqa: E402

DTYPES = pytest.mark.parametrize("dtype", [np.float32, np.float64])
SIZES = {1: [(7,), (4,), (12,)], 2: [(7, 4), (4, 9), (5, 5)], 3: [(4, 5, 4), (5, 4, 6)]}
SMALL = {1: [(1,), (2,), (6,)], 2: [(1, 5), (2, 1), (6, 3)], 3: [(1, 2, 3)]}
CONVS = {1: F.conv1d, 2: F.conv2d, 3: F.conv3d}
MODES = {"zero": "constant", "replicate": "replicate", "reflect": "reflect", "circular": "circular"}


def kernel(weights):
    rank = weights["kernel"].ndim - 2
    return weights["kernel"].permute(rank + 1, rank, *range(rank))


def convolved(weights, x, pads, border, **options):
    """Returns PyTorch's convolution with (before, after) pads, the same on every axis."""
    rank = x.ndim - 2
    if border != "zero" or pads[0] != pads[1]:
        x, pads = F.pad(x, list(pads) * rank, mode=MODES[border]), (0, 0)
    return CONVS[rank](x, kernel(weights), weights["bias"], padding=pads[0], **options)


@DTYPES
@pytest.mark.parametrize("rank", [1, 2, 3])
@pytest.mark.parametrize(
    ("taps", "pads", "options"),
    [
        (3, (1, 1), {}),
        (4, (1, 1), {"stride": 2}),
        (3, (0, 2), {"stride": 2}),
        (3, (2, 2), {"dilation": 2}),
        (3, (1, 1), {"groups": 2}),
        (3, (1, 1), {"groups": 4, "stride": 2}),  # depthwise
        (1, (0, 0), {"stride": 2}),
    ],
)
def test_convolution(rank, taps, pads, options, dtype):
    def make():
        return layers.Convolution(4, 8, taps, rank=rank, padding=[pads] * rank, rngs=nnx.Rngs(0), **options)

    sizes = SIZES[rank] if taps > 1 else SMALL[rank]
    check_layer(torch, make, lambda w, x: convolved(w, x, pads, "zero", **options), sizes, 4, dtype)


@DTYPES
@pytest.mark.parametrize("rank", [1, 2, 3])
@pytest.mark.parametrize("border", ["replicate", "reflect", "circular"])
@pytest.mark.parametrize(("taps", "pads", "stride"), [(3, (1, 1), 1), (4, (1, 2), 2), (7, (3, 3), 1)])
def test_borders_are_those_of_the_unpadded_example(rank, border, taps, pads, stride, dtype):
    def make():
        return layers.Convolution(
            3, 5, taps, rank=rank, stride=stride, padding=[pads] * rank, border=border, rngs=nnx.Rngs(0)
        )

    sizes = SMALL[rank] if border == "replicate" and taps == 3 else SIZES[rank]
    check_layer(torch, make, lambda w, x: convolved(w, x, pads, border, stride=stride), sizes, 3, dtype)


@DTYPES
@pytest.mark.parametrize("rank", [1, 2])
def test_partial_convolution_scales_by_the_valid_taps(rank, dtype):
    def make():
        return layers.Convolution(3, 5, 3, rank=rank, stride=2, padding=1, border="partial", rngs=nnx.Rngs(0))

    def reference(weights, x):
        ones = torch.ones_like(x[:, :1])
        valid = CONVS[rank](ones, torch.ones((1, 1) + (3,) * rank, dtype=x.dtype), stride=2, padding=1)
        plain = CONVS[rank](x, kernel(weights), stride=2, padding=1)
        return plain * 3**rank / valid + weights["bias"].reshape(1, -1, *(1,) * rank)

    check_layer(torch, make, reference, SMALL[rank], 3, dtype)


@pytest.mark.parametrize("rank", [1, 2])
@pytest.mark.parametrize("border", ["replicate", "reflect", "circular"])
def test_borders_with_dilation_and_other_pads_before_than_after(rank, border):
    options = {"rank": rank, "padding": [(0, 3)] * rank, "dilation": 3}
    check_layer(
        torch,
        lambda: layers.Convolution(3, 5, 2, border=border, rngs=nnx.Rngs(0), **options),
        lambda weights, x: convolved(weights, x, (0, 3), border, dilation=3),
        SIZES[rank],
        3,
        np.float64,
    )


@pytest.mark.parametrize("border", ["zero", "replicate", "reflect", "circular"])
@pytest.mark.parametrize("padded", [0, 1])
def test_a_border_along_one_axis_alone(border, padded):
    pads = [(0, 0), (0, 0)]
    pads[padded] = (1, 2)

    def reference(weights, x):
        around = pads[1] + pads[0]  # PyTorch begins with the last axis
        return F.conv2d(F.pad(x, around, mode=MODES[border]), kernel(weights), weights["bias"])

    make = functools.partial(layers.Convolution, 3, 5, 3, padding=pads, border=border)
    check_layer(torch, lambda: make(rngs=nnx.Rngs(0)), reference, SIZES[2], 3, np.float64)


@pytest.mark.parametrize("rank", [1, 2])
@pytest.mark.parametrize(("pads", "options"), [((0, 2), {"stride": 2}), ((3, 1), {"dilation": 2})])
def test_partial_convolution_with_dilation_and_other_pads_before_than_after(rank, pads, options):
    def make():
        shape = {"rank": rank, "padding": [pads] * rank, "border": "partial"}
        return layers.Convolution(3, 5, 3, rngs=nnx.Rngs(0), **shape, **options)

    def reference(weights, x):
        around = list(pads) * rank
        inside = F.pad(torch.ones_like(x[:, :1]), around)
        valid = CONVS[rank](inside, torch.ones((1, 1) + (3,) * rank, dtype=x.dtype), **options)
        plain = CONVS[rank](F.pad(x, around), kernel(weights), **options)
        return plain * 3**rank / valid + weights["bias"].reshape(1, -1, *(1,) * rank)

    check_layer(torch, make, reference, SIZES[rank], 3, np.float64)


POOLS = {
    "max": (layers.MaxPool, lambda rank: [F.max_pool1d, F.max_pool2d, F.max_pool3d][rank - 1]),
    "average": (layers.AveragePool, lambda rank: [F.avg_pool1d, F.avg_pool2d, F.avg_pool3d][rank - 1]),
}


@DTYPES
@pytest.mark.parametrize("rank", [1, 2, 3])
@pytest.mark.parametrize("name", POOLS)
@pytest.mark.parametrize("ceil", [False, True])
@pytest.mark.parametrize(("taps", "stride", "pad"), [(3, 2, 1), (2, 2, 0), (2, 3, 1), (3, 1, 1)])
def test_windowed_pools(rank, name, ceil, taps, stride, pad, dtype):
    kind, function = POOLS[name]

    def reference(weights, x):
        counting = {"count_include_pad": False} if name == "average" else {}
        return function(rank)(x, taps, stride, pad, ceil_mode=ceil, **counting)

    check_layer(
        torch, lambda: kind(taps, rank=rank, stride=stride, padding=pad, ceil=ceil), reference, SIZES[rank], 4, dtype
    )


@pytest.mark.parametrize("rank", [1, 2])
@pytest.mark.parametrize("name", [*POOLS, "lp"])
def test_windowed_pools_with_other_pads_before_than_after(rank, name):
    def make():
        options = {"rank": rank, "stride": 2, "padding": [(2, 0)] * rank}
        return layers.LPPool(3, 2.0, **options) if name == "lp" else POOLS[name][0](3, **options)

    def reference(weights, x):
        if name == "max":
            return POOLS[name][1](rank)(F.pad(x, [2, 0] * rank, value=-float("inf")), 3, 2)
        ones = torch.ones((1, 1) + (3,) * rank, dtype=x.dtype)
        total, valid = (
            CONVS[rank](F.pad(y.transpose(0, 1), [2, 0] * rank), ones, stride=2).transpose(0, 1)
            for y in (x**2 if name == "lp" else x, torch.ones_like(x))
        )
        return total.sqrt() if name == "lp" else total / valid

    check_layer(torch, make, reference, SIZES[rank], 4, np.float64)


@DTYPES
@pytest.mark.parametrize("rank", [1, 2])
@pytest.mark.parametrize("p", [2.0, 4.0])
def test_lp_pool(rank, p, dtype):
    function = {1: F.lp_pool1d, 2: F.lp_pool2d}[rank]
    check_layer(
        torch,
        lambda: layers.LPPool(3, p, rank=rank, stride=2),
        lambda weights, x: function(x, p, 3, 2),
        SIZES[rank],
        4,
        dtype,
    )


@DTYPES
@pytest.mark.parametrize("taps", [3, 4])
def test_blur_pool(taps, dtype):
    filters = torch.tensor(np.outer(*[{3: [1, 2, 1], 4: [1, 3, 3, 1]}[taps]] * 2))

    def reference(weights, x):
        weight = (filters / filters.sum()).to(x.dtype).expand(4, 1, taps, taps)
        x = F.pad(x, [(taps - 1) // 2, taps // 2] * 2, mode="reflect")
        return F.conv2d(x, weight, stride=2, groups=4)

    check_layer(torch, lambda: layers.BlurPool(taps), reference, SIZES[2], 4, dtype)


@DTYPES
@pytest.mark.parametrize("rank", [1, 2, 3])
@pytest.mark.parametrize(
    ("taps", "stride", "pad", "groups"), [(4, 2, 1, 1), (3, 1, 1, 2), (2, 3, 0, 1), (5, 2, 2, 4), (1, 2, 0, 1)]
)
def test_transposed_convolution(rank, taps, stride, pad, groups, dtype):
    function = {1: F.conv_transpose1d, 2: F.conv_transpose2d, 3: F.conv_transpose3d}[rank]

    def make():
        options = {"stride": stride, "padding": pad, "groups": groups, "rank": rank}
        return layers.TransposedConvolution(4, 8, taps, rngs=nnx.Rngs(0), **options)

    def reference(weights, x):
        # [*taps, C / groups, K] to PyTorch's [C, K / groups, *taps]
        parts = torch.chunk(weights["kernel"], groups, -1)
        kernel = torch.cat([part.permute(rank, rank + 1, *range(rank)) for part in parts])
        return function(x, kernel, weights["bias"], stride=stride, padding=pad, groups=groups)

    check_layer(torch, make, reference, SMALL[rank], 4, dtype)


@pytest.mark.parametrize("rank", [1, 2])
@pytest.mark.parametrize("pads", [(2, 0), (0, 1)])
def test_transposed_convolution_cuts_the_pads_before_and_after(rank, pads):
    function = {1: F.conv_transpose1d, 2: F.conv_transpose2d}[rank]

    def make():
        options = {"stride": 2, "padding": [pads] * rank, "rank": rank}
        return layers.TransposedConvolution(4, 3, 5, rngs=nnx.Rngs(0), **options)

    def reference(weights, x):
        whole = function(x, weights["kernel"].permute(rank, rank + 1, *range(rank)), weights["bias"], stride=2)
        kept = [slice(pads[0], extent - pads[1]) for extent in whole.shape[2:]]
        return whole[(..., *kept)]

    check_layer(torch, make, reference, SMALL[rank], 4, np.float64)


@DTYPES
@pytest.mark.parametrize("rank", [1, 2, 3])
@pytest.mark.parametrize("method", ["nearest", "bilinear"])
@pytest.mark.parametrize("factor", [2, 3])
def test_upsampling(rank, method, factor, dtype):
    mode = {"nearest": "nearest", "bilinear": {1: "linear", 2: "bilinear", 3: "trilinear"}[rank]}[method]
    check_layer(
        torch,
        lambda: layers.Upsample(factor, method, rank=rank),
        lambda weights, x: F.interpolate(x, scale_factor=factor, mode=mode),
        SMALL[rank],
        4,
        dtype,
    )


@DTYPES
@pytest.mark.parametrize("rank", [1, 2, 3])
@pytest.mark.parametrize("method", ["max", "mean"])
def test_spatial_pyramid_pool(rank, method, dtype):
    pools = {
        "max": {1: F.adaptive_max_pool1d, 2: F.adaptive_max_pool2d, 3: F.adaptive_max_pool3d},
        "mean": {1: F.adaptive_avg_pool1d, 2: F.adaptive_avg_pool2d, 3: F.adaptive_avg_pool3d},
    }

    def reference(weights, x):
        levels = [pools[method][rank](x, [bins] * rank) for bins in (1, 2, 3)]
        flat = [level.moveaxis(1, -1).reshape(1, -1) for level in levels]  # bins in order, C channels each
        return torch.cat(flat, 1).reshape(1, -1, *[1] * rank)

    sizes = [*SMALL[rank], *SIZES[rank]]
    check_layer(torch, lambda: layers.SpatialPyramidPool((1, 2, 3), method, rank=rank), reference, sizes, 4, dtype)
