"""torchvision and timm, if they are installed, and their networks with random weights and statistics."""

from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch")


def imported() -> tuple[Any, Any]:
    """Returns the modules torchvision and timm, or skips the test.

    A wheel of torchvision for GPUs cannot load its operators on a machine without CUDA, and then fails while it is
    imported. Networks need none of these operators: declaring two of them is enough.
    """
    try:
        import torchvision  # type: ignore[import-not-found]  (not a dependency)
    except ImportError:
        pytest.skip("needs torchvision")
    except RuntimeError:
        torchvision = _without_operators()
    return torchvision, pytest.importorskip("timm", exc_type=ImportError)


_DECLARED: list[Any] = []  # the operators are gone when this is collected


def _without_operators() -> Any:
    if not _DECLARED:
        _DECLARED.append(torch.library.Library("torchvision", "DEF"))
        for name in ("nms", "qnms"):
            _DECLARED[0].define(f"{name}(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
    try:
        import torchvision  # type: ignore[import-not-found]  (not a dependency)
    except (ImportError, RuntimeError) as error:
        pytest.skip(f"torchvision cannot be imported ({error})")
    return torchvision


def network(library: str, name: str, **options: Any) -> Any:
    """Returns a network of "torchvision" or "timm" in evaluation mode, or skips the test."""
    torchvision, timm = imported()
    if library == "timm":
        return timm.create_model(name, pretrained=False, **options).eval()
    return torchvision.models.get_model(name, weights=None, **options).eval()


def randomize(network: Any) -> Any:
    """Draws weights, biases, statistics and layer scales of a network, and returns it; values stay of order 1."""
    generator = torch.Generator().manual_seed(0)
    for name, tensor in network.state_dict().items():
        if tensor.ndim > 1 and name.endswith("weight"):
            torch.nn.init.kaiming_normal_(tensor, nonlinearity="relu", generator=generator)
        elif tensor.is_floating_point():
            drawn = torch.rand(tensor.shape, generator=generator)
            scale = 0.2 if name.endswith(("gamma", "layer_scale")) else 1.0
            tensor.copy_(scale * (drawn + 0.5 if name.endswith(("weight", "var", "gamma", "scale")) else drawn - 0.5))
    return network


def outputs(network: Any, images: np.ndarray) -> np.ndarray:
    """Returns what a network computes of images [B, H, W, C]."""
    with torch.no_grad():
        return network(torch.tensor(np.moveaxis(images, -1, 1))).numpy()
