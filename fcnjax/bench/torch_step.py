"""The same train step in PyTorch, eager or by `torch.compile`: of any module, such as one of torchvision's networks.

Axes: B batch, H height, W width, C channels.
"""

import os
import time
from collections.abc import Sequence
from typing import Any

import jax
import numpy as np

from fcnjax.training.compile.compilation import core_count

MEMORY_SHARES = ("XLA_CLIENT_MEM_FRACTION", "XLA_PYTHON_CLIENT_MEM_FRACTION")  # JAX refuses to be given both
TorchBatch = tuple[np.ndarray, np.ndarray]  # images float32 [B, H, W, C], labels [B]


def find_torch() -> tuple[Any, str] | str:
    """Returns PyTorch and its name for JAX's kind of device ("cpu", "cuda"), or a sentence on why it cannot be used."""
    try:
        import torch
    except ImportError:
        return "PyTorch is not installed; install the extra `oracle`."
    device = {"cpu": "cpu", "gpu": "cuda"}.get(jax.default_backend(), "")
    if not device or (device == "cuda" and not torch.cuda.is_available()):
        return f"PyTorch cannot use the {jax.devices()[0].device_kind} that JAX runs on."
    return torch, device


def leave_memory_for_torch() -> None:
    """Lets JAX reserve 60 % of a GPU's memory instead of 75 %, unless the environment names a share.

    Call it before JAX's first computation, which reserves the memory.
    """
    if not any(name in os.environ for name in MEMORY_SHARES):
        os.environ[MEMORY_SHARES[0]] = "0.6"


class TorchStep:
    """The train step in PyTorch: SGD. A call runs the next step and returns its mean loss.

    It cycles through `steps`. On a GPU, the memory format is channels last, which its convolutions prefer.

    Args:
        torch: the module.
        device: "cpu" or "cuda".
        model: the network, a `torch.nn.Module`.
        steps: for each step, the batches over which gradients are summed. An object that occurs several times is placed
            on the device once.
        rate: learning rate of SGD.
        momentum: momentum of SGD.
        dtype: dtype of the computation, "float32" or "bfloat16" (autocast).
        precision: "float32", or "tf32" for TF32 products where the device has them.
        tuned: whether cuDNN times its algorithms for every new shape, which pays off only if there are few shapes.
        compiled: whether `torch.compile` compiles the network.

    Attributes:
        version: version of PyTorch.
        threads: number of CPU threads that it uses.
    """

    def __init__(
        self,
        torch: Any,
        device: str,
        model: Any,
        steps: Sequence[Sequence[TorchBatch]],
        *,
        rate: float,
        momentum: float,
        dtype: str = "float32",
        precision: str = "float32",
        tuned: bool = True,
        compiled: bool = False,
    ):
        self._torch, self._device, self.version = torch, device, torch.__version__
        self._dtype, self._tuned, self._done = getattr(torch, dtype), tuned, 0
        self._tf32 = precision == "tf32"
        self.threads = core_count()
        self._layout = torch.channels_last if device == "cuda" else torch.contiguous_format
        self._model = model.to(device, memory_format=self._layout).train()
        self._optimizer = torch.optim.SGD(self._model.parameters(), lr=rate, momentum=momentum)
        if compiled:
            self._model = torch.compile(self._model)
        placed = {id(batch): self._placed(*batch) for step in steps for batch in step}
        self._steps = [[placed[id(batch)] for batch in step] for step in steps]

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
        for self.threads in [1, core_count()] * 2:  # the first time warms up
            begun = time.perf_counter()
            self.run(len(self._steps))
            times[self.threads] = time.perf_counter() - begun
        self.threads = min(times, key=times.__getitem__)

    def run(self, steps: int) -> None:
        """Runs that many steps and waits for the last one."""
        backends = self._torch.backends
        self._torch.set_num_threads(self.threads)
        # Settings of the process, which the next arm changes. One kind of setting only: PyTorch refuses a mixture.
        backends.cudnn.benchmark = self._tuned
        backends.cudnn.allow_tf32 = backends.cuda.matmul.allow_tf32 = self._tf32
        for _ in range(steps):
            self()
        if self._device == "cuda":
            self._torch.cuda.synchronize()


def torchvision_network(name: str, classes: int) -> Any:
    """Returns torchvision's network of that name for RGB images.

    Raises:
        ValueError: if torchvision cannot be imported, or has no such network.
    """
    try:
        from torchvision import models  # type: ignore[import-not-found]  (not a dependency)
    except (ImportError, RuntimeError) as error:  # RuntimeError: built for another version of PyTorch
        raise ValueError(f"torchvision cannot be imported ({error}), so there is no PyTorch {name}.") from None
    make = getattr(models, name, None)
    if not callable(make):
        raise ValueError(f"torchvision has no network {name!r}.")
    return make(num_classes=classes)
