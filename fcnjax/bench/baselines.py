"""The same network and train step written without this library: in plain JAX, and in PyTorch.

Axes: B batch, H height, W width, C channels, K classes. Weights and statistics have the names that `fcnjax.models.fcn`
gives them.
"""

import time
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax import lax

from fcnjax.bench.timing import threads
from fcnjax.layers.layer import per_channel
from fcnjax.training.step.step import Arrays, TrainState, cross_entropy

EPSILON, MOMENTUM = 1e-5, 0.9  # of batch norm: the defaults of `fcnjax.layers.BatchNorm`


def make_plain_step(optimizer: optax.GradientTransformation) -> Callable[..., tuple[TrainState, jax.Array]]:
    """Returns `step(state, images [B, H, W, C], labels [B]) -> (state, mean loss)`, as one would write it by hand.

    It uses JAX's convolution and no mask, and takes the variance as the mean of the squared differences from the mean.
    """

    def objective(weights: Arrays, statistics: Arrays, images: jax.Array, labels: jax.Array):
        features, moved = images, {}
        for index in range(sum(name.startswith("blocks") for name in weights) // 3):
            conv, norm = (f"blocks.{index}.layers.{layer}" for layer in range(2))
            pad = (weights[f"{conv}.kernel"].shape[0] - 1) // 2
            features = lax.conv_general_dilated(
                features,
                weights[f"{conv}.kernel"],
                (2, 2),
                ((pad, pad), (pad, pad)),
                dimension_numbers=("NHWC", "HWIO", "NHWC"),
            )
            mean = jnp.mean(features, (0, 1, 2))
            centered = features - per_channel(mean, features)
            variance = jnp.mean(jnp.square(centered), (0, 1, 2))
            unbiased = variance * (features.size / (features.size - features.shape[-1]))  # n / (n - 1)
            for name, new in (("mean", mean), ("variance", unbiased)):
                moved[f"{norm}.{name}"] = MOMENTUM * statistics[f"{norm}.{name}"] + (1 - MOMENTUM) * new
            features = centered * per_channel(lax.rsqrt(variance + EPSILON), features)
            features = features * per_channel(weights[f"{norm}.scale"], features)
            features = jax.nn.relu(features + per_channel(weights[f"{norm}.bias"], features))
        pooled = jnp.mean(features, (1, 2))
        logits = pooled @ weights["head.layers.0.kernel"] + weights["head.layers.0.bias"][None]
        return jnp.mean(cross_entropy(logits, labels)), moved

    def step(state: TrainState, images: jax.Array, labels: jax.Array) -> tuple[TrainState, jax.Array]:
        gradient = jax.value_and_grad(objective, has_aux=True)
        (loss, statistics), gradients = gradient(state.weights, state.statistics, images, labels)
        updates, optimizer_state = optimizer.update(gradients, state.optimizer, state.weights)
        weights = optax.apply_updates(state.weights, updates)
        return TrainState(state.step + 1, weights, statistics, optimizer_state), loss  # type: ignore[arg-type]

    return step


def find_torch() -> tuple[Any, str] | str:
    """Returns PyTorch and its name for JAX's kind of device ("cpu", "cuda"), or a sentence on why it cannot be used."""
    try:
        import torch
    except ImportError:
        return "PyTorch is not installed; install the extra `oracle`."
    device = {"cpu": "cpu", "gpu": "cuda"}.get(jax.default_backend(), "")
    if not device or (device == "cuda" and not torch.cuda.is_available()):
        return f"PyTorch cannot use the {jax.devices()[0].device_kind} that JAX runs on."
    if device == "cuda":  # as XLA does by default
        torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = True
    return torch, device


class TorchStep:
    """The train step in eager PyTorch. A call runs the next step and returns its mean loss.

    It cycles through `steps`. On a GPU, the memory format is channels last, which its convolutions prefer.

    Args:
        torch: the module.
        device: "cpu" or "cuda".
        weights: initial weights, by name.
        steps: for each step, the batches over which gradients are summed, each as images [B, H, W, C] and labels [B].
        rate: learning rate of SGD.
        momentum: momentum of SGD.
        dtype: dtype of the computation, "float32" or "bfloat16" (autocast).
        tuned: whether cuDNN times its algorithms for every new shape, which pays off only if there are few shapes.

    Attributes:
        version: version of PyTorch.
        threads: number of CPU threads that it uses.
    """

    def __init__(
        self,
        torch: Any,
        device: str,
        weights: Arrays,
        steps: Sequence[Sequence[tuple[np.ndarray, np.ndarray]]],
        *,
        rate: float,
        momentum: float,
        dtype: str = "float32",
        tuned: bool = True,
    ):
        self._torch, self._device, self.version = torch, device, torch.__version__
        self._dtype, self._tuned, self._done = getattr(torch, dtype), tuned, 0
        self.threads = threads()
        self._layout = torch.channels_last if device == "cuda" else torch.contiguous_format
        kernels = [np.asarray(weights[name]) for name in sorted(weights) if name.endswith("layers.0.kernel")]
        self._model = _torch_model(torch, kernels).to(device, memory_format=self._layout)
        self._optimizer = torch.optim.SGD(self._model.parameters(), lr=rate, momentum=momentum)
        self._steps = [[self._placed(*batch) for batch in step] for step in steps]

    def _placed(self, images: np.ndarray, labels: np.ndarray) -> tuple[Any, Any]:
        values = self._torch.tensor(np.moveaxis(images, -1, 1).copy(), device=self._device)
        labels = self._torch.tensor(labels, dtype=self._torch.long, device=self._device)
        return values.contiguous(memory_format=self._layout), labels

    def __call__(self) -> Any:
        torch, step = self._torch, self._steps[self._done % len(self._steps)]
        total, loss, self._done = sum(len(labels) for _, labels in step), 0.0, self._done + 1
        self._optimizer.zero_grad()
        for images, labels in step:
            with torch.autocast(self._device, self._dtype, enabled=self._dtype != torch.float32):
                logits = self._model(images)
            part = torch.nn.functional.cross_entropy(logits.float(), labels, reduction="sum") / total
            part.backward()
            loss += part.detach()
        self._optimizer.step()
        return loss

    def choose_threads(self) -> None:
        """Sets `threads` to 1 or to as many as XLA uses, whichever runs all steps faster.

        Small images gain little from threads, and PyTorch loses much time when another process delays one of them.
        """
        times = {}
        for self.threads in [1, threads()] * 2:  # the first time warms up
            begun = time.perf_counter()
            self.run(len(self._steps))
            times[self.threads] = time.perf_counter() - begun
        self.threads = min(times, key=times.__getitem__)

    def run(self, steps: int) -> None:
        """Runs that many steps and waits for the last one."""
        self._torch.set_num_threads(self.threads)
        with self._torch.backends.cudnn.flags(enabled=True, benchmark=self._tuned, allow_tf32=True):
            for _ in range(steps):
                self()
        if self._device == "cuda":
            self._torch.cuda.synchronize()


def _torch_model(torch: Any, kernels: Sequence[np.ndarray]) -> Any:
    """Returns the network with these kernels: those of its convolutions [H, W, C, C'], then its classifier's [C, K]."""
    *convolutions, dense = kernels
    layers = []
    for kernel in convolutions:
        taps = len(kernel)
        conv = torch.nn.Conv2d(*kernel.shape[-2:], taps, stride=2, padding=(taps - 1) // 2, bias=False)
        layers += [conv, torch.nn.BatchNorm2d(kernel.shape[-1], eps=EPSILON, momentum=1 - MOMENTUM), torch.nn.ReLU()]
    model = torch.nn.Sequential(
        *layers, torch.nn.AdaptiveAvgPool2d(1), torch.nn.Flatten(), torch.nn.Linear(*dense.shape)
    )
    with torch.no_grad():
        for layer, kernel in zip(layers[::3], convolutions, strict=True):
            layer.weight.copy_(torch.tensor(np.moveaxis(kernel, (-1, -2), (0, 1)).copy()))
        model[-1].weight.copy_(torch.tensor(dense.T.copy()))
        model[-1].bias.zero_()
    return model
