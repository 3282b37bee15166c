"""A classifier of this library as an eager PyTorch network: the same layers, options and weights, without masks.

It does as torchvision does: images are [B, C, H, W]; ReLU, SiLU and residual sums work in place; layers that act on
each position alone and follow a layer norm run with the channels last, as in its ConvNeXt.

Axes: B batch, H height, W width, C input channels, K output channels.
"""

from collections.abc import Callable, Sequence
from functools import singledispatchmethod
from types import SimpleNamespace
from typing import Any

import jax
import numpy as np

from fcnjax import layers as ours
from fcnjax import pooling
from fcnjax.heads import Head
from fcnjax.layers.pointwise import relu_of_sum
from fcnjax.models import Classifier
from fcnjax.models.convnext import exact_gelu

POSITIONWISE = (ours.LayerNorm, ours.Pointwise, ours.Activation)  # these follow a layer norm with channels last


def torch_twin(torch: Any, model: Classifier) -> Any:
    """Returns a network of 2-D images as a `torch.nn.Module` [B, C, H, W] -> logits [B, K], with copies of its weights.

    Args:
        torch: the module.
        model: a network of `fcnjax.models` with a mean as the pool of its head.

    Raises:
        ValueError: if a layer or the pool does not have a counterpart here.
    """
    head = model.head
    if not isinstance(head, Head) or not isinstance(head.pool, pooling.Mean):
        raise ValueError(f"head {type(head).__name__}: must be a Head with the mean as its pool, for PyTorch.")
    return _Twin(torch).classifier(model, head)


class _Twin:
    def __init__(self, torch: Any):
        self.torch, self.nn = torch, torch.nn
        relu, silu = (_in_place(getattr(torch.nn.functional, name)) for name in ("relu", "silu"))
        functions = {jax.nn.relu: relu, relu_of_sum: relu, jax.nn.silu: silu}
        gelus = {"tanh": jax.nn.gelu, "none": exact_gelu}
        functions |= {ours_: _gelu(torch, name) for name, ours_ in gelus.items()}
        self.functions: dict[Any, Callable[..., Any]] = functions

    def classifier(self, model: Classifier, head: Head) -> Any:
        backbone = self.sequence([layer for block in model.blocks for layer in block.layers])
        layers = list(head.layers)
        before, after = self.sequence(layers[: head.pool_at]), self.sequence(layers[head.pool_at :])
        cut, parts = model.cut_to_input, [backbone, before, after]

        def forward(parts: Sequence[Any], images: Any) -> Any:
            features = parts[0](images)
            if cut:
                features = features[..., : images.shape[2], : images.shape[3]]
            return parts[2](parts[1](features).mean((2, 3), keepdim=True)).flatten(1)

        return self.module(forward, *parts)

    def module(self, function: Callable[..., Any], *parts: Any, **weights: Any) -> Any:
        """Returns a module that calls `function` with its parts or with its weights by name, and the input."""
        nn, torch = self.nn, self.torch

        class Module(nn.Module):
            def __init__(self):
                super().__init__()
                self.parts = nn.ModuleList(parts)
                for name, array in weights.items():
                    setattr(self, name, nn.Parameter(torch.tensor(np.array(array))))

            def forward(self, x: Any) -> Any:
                if weights:
                    return function(SimpleNamespace(**{name: getattr(self, name) for name in weights}), x)
                return function(self, x) if not parts else function(self.parts, x)

        return Module()

    def sequence(self, layers: Sequence[ours.Layer]) -> Any:
        made, index = [], 0
        while index < len(layers):
            last = index
            if isinstance(layers[index], ours.LayerNorm):
                while last < len(layers) and isinstance(layers[last], POSITIONWISE):
                    last += 1
                made.append(self.channels_last(layers[index:last]))
            else:
                made.append(self.make(layers[index]))
            index = max(last, index + 1)
        return self.nn.Sequential(*made)

    def channels_last(self, layers: Sequence[ours.Layer]) -> Any:
        inner = self.nn.Sequential(*map(self.last_axis, layers))
        return self.module(lambda parts, x: parts[0](x.permute(0, 2, 3, 1)).permute(0, 3, 1, 2), inner)

    def last_axis(self, layer: ours.Layer) -> Any:
        if isinstance(layer, ours.LayerNorm):
            norm = self.nn.LayerNorm(layer.channels, eps=layer.epsilon)
            return self.filled(norm, weight=layer.scale, bias=layer.bias)
        if isinstance(layer, ours.Pointwise):
            linear = self.nn.Linear(*layer.kernel.shape, bias=layer.bias is not None)
            return self.filled(linear, weight=layer.kernel[...].T, bias=layer.bias)
        return self.make(layer)

    def filled(self, module: Any, **weights: Any) -> Any:
        for name, array in weights.items():
            if array is not None:
                values = self.torch.tensor(np.array(array[...]))
                with self.torch.no_grad():
                    getattr(module, name).copy_(values)
        return module

    @singledispatchmethod
    def make(self, layer: ours.Layer) -> Any:
        raise ValueError(f"layer {type(layer).__name__}: does not have a counterpart in PyTorch here.")

    @make.register
    def _(self, layer: ours.Convolution) -> Any:
        *taps, _, outputs = layer.kernel.shape
        before, after = zip(*(window.padding for window in layer._windows), strict=True)
        if layer.border != "zero" or before != after:
            raise ValueError(f"border={layer.border}, padding={before, after}: must be zeros, as many on both sides.")
        strides, dilation = ([getattr(window, name) for window in layer._windows] for name in ("stride", "dilation"))
        inputs = layer.kernel.shape[-2] * layer.groups
        options = {"stride": strides, "dilation": dilation, "groups": layer.groups, "bias": layer.bias is not None}
        conv = self.nn.Conv2d(inputs, outputs, taps, padding=before, **options)
        return self.filled(conv, weight=np.transpose(layer.kernel[...], (3, 2, 0, 1)), bias=layer.bias)

    @make.register
    def _(self, layer: ours.TransposedConvolution) -> Any:
        *taps, outputs, inputs = np.swapaxes(layer.kernel[...], -1, -2).shape
        strides, pads = zip(*((window.stride, window.padding[0]) for window in layer._windows), strict=True)
        conv = self.nn.ConvTranspose2d(inputs, outputs, taps, strides, pads, bias=layer.bias is not None)
        return self.filled(conv, weight=np.transpose(layer.kernel[...], (2, 3, 0, 1)), bias=layer.bias)

    @make.register
    def _(self, layer: ours.Pointwise) -> Any:
        conv = self.nn.Conv2d(*layer.kernel.shape, 1, bias=layer.bias is not None)
        return self.filled(conv, weight=layer.kernel[...].T[..., None, None], bias=layer.bias)

    @make.register
    def _(self, layer: ours.BatchNorm) -> Any:
        norm = self.nn.BatchNorm2d(layer.channels, eps=layer.epsilon, momentum=1 - layer.momentum)
        statistics = {"running_mean": layer.mean, "running_var": layer.variance}
        return self.filled(norm, weight=layer.scale, bias=layer.bias, **statistics)

    @make.register
    def _(self, layer: ours.Activation) -> Any:
        if layer.function not in self.functions:
            raise ValueError(f"activation {layer.function}: does not have a counterpart in PyTorch here.")
        function = self.functions[layer.function]
        return self.module(lambda _, x: function(x))

    @make.register
    def _(self, layer: ours.MaxPool) -> Any:
        return self.nn.MaxPool2d(**_window_options(layer))

    @make.register
    def _(self, layer: ours.AveragePool) -> Any:
        return self.nn.AvgPool2d(**_window_options(layer), count_include_pad=False)

    @make.register
    def _(self, layer: ours.Upsample) -> Any:
        factor = layer._windows[0].stride
        return self.nn.Upsample(scale_factor=factor, mode=layer.method)

    @make.register
    def _(self, layer: ours.Sequential) -> Any:
        return self.sequence(list(layer.layers))

    @make.register
    def _(self, layer: ours.Residual) -> Any:
        def forward(parts: Sequence[Any], x: Any) -> Any:
            total = parts[0](x)
            total += parts[1](x)
            return total

        return self.module(forward, *map(self.make, layer.branches))

    @make.register
    def _(self, layer: ours.SkipConnection) -> Any:
        def forward(parts: Sequence[Any], x: Any) -> Any:
            shortcut = parts[1](x)
            return parts[0](x)[..., : shortcut.shape[2], : shortcut.shape[3]] + shortcut

        return self.module(forward, self.make(layer.branch), self.make(layer.shortcut))

    @make.register
    def _(self, layer: ours.SqueezeExcite) -> Any:
        activation, torch = self.functions[layer.activation.function], self.torch

        def forward(parts: Sequence[Any], x: Any) -> Any:
            return x * torch.sigmoid(parts[1](activation(parts[0](x.mean((2, 3), keepdim=True)))))

        return self.module(forward, self.make(layer.reduce), self.make(layer.expand))

    @make.register
    def _(self, layer: ours.LayerScale) -> Any:
        return self.module(lambda weights, x: x * weights.scale, scale=np.array(layer.scale[...])[:, None, None])

    @make.register
    def _(self, layer: ours.ChannelDropout) -> Any:
        return self.nn.Dropout2d(layer.rate)

    @make.register
    def _(self, layer: ours.StochasticDepth) -> Any:
        """Drops whole examples and enlarges the others, as in torchvision."""
        kept, torch = 1 - layer.rate, self.torch

        def forward(module: Any, x: Any) -> Any:
            if not module.training or kept == 1:
                return x
            return x * (torch.rand(len(x), 1, 1, 1, device=x.device) < kept) / kept

        return self.module(forward)


def _in_place(function: Callable[..., Any]) -> Callable[..., Any]:
    return lambda x: function(x, inplace=True)


def _gelu(torch: Any, approximate: str) -> Callable[..., Any]:
    return lambda x: torch.nn.functional.gelu(x, approximate=approximate)


def _window_options(layer: Any) -> dict[str, Any]:
    windows = layer._windows
    sizes = {"kernel_size": [window.kernel for window in windows], "stride": [window.stride for window in windows]}
    return sizes | {"padding": [window.padding[0] for window in windows], "ceil_mode": windows[0].ceil}
