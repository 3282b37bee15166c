"""ConvNeXt as in torchvision, in plain PyTorch with the same names in its state dict."""

import pytest

torch = pytest.importorskip("torch")
nn = torch.nn


class Permute(nn.Module):
    def __init__(self, *order: int):
        super().__init__()
        self.order = order

    def forward(self, x):
        return x.permute(self.order)


class ChannelNorm(nn.LayerNorm):
    def __init__(self, channels: int):
        super().__init__(channels, eps=1e-6)

    def forward(self, x):
        return super().forward(x.movedim(1, -1)).movedim(-1, 1)


class Block(nn.Module):
    def __init__(self, channels: int):
        super().__init__()
        self.block = nn.Sequential(
            nn.Conv2d(channels, channels, 7, padding=3, groups=channels),
            Permute(0, 2, 3, 1),
            nn.LayerNorm(channels, eps=1e-6),
            nn.Linear(channels, 4 * channels),
            nn.GELU(),
            nn.Linear(4 * channels, channels),
            Permute(0, 3, 1, 2),
        )
        self.layer_scale = nn.Parameter(torch.ones(channels, 1, 1))

    def forward(self, x):
        return x + self.layer_scale * self.block(x)


class ConvNeXt(nn.Module):
    def __init__(self, width: int, depths, classes: int, channels: int):
        super().__init__()
        features = [nn.Sequential(nn.Conv2d(channels, width, 4, 4), ChannelNorm(width))]
        for stage, depth in enumerate(depths):
            if stage:
                features.append(nn.Sequential(ChannelNorm(width), nn.Conv2d(width, 2 * width, 2, 2)))
                width *= 2
            features.append(nn.Sequential(*(Block(width) for _ in range(depth))))
        self.features = nn.Sequential(*features)
        self.classifier = nn.Sequential(ChannelNorm(width), nn.Flatten(1), nn.Linear(width, classes))

    def forward(self, x):
        return self.classifier(self.features(x).mean((2, 3), keepdim=True))


def timm_names(name: str) -> str:
    """Returns timm's name of the tensor that torchvision calls `name`."""
    part, index, *path = name.split(".")
    index, leaf = int(index), path[-1]
    if part == "classifier":
        return f"head.{'fc' if index else 'norm'}.{leaf}"
    if index == 0:
        return f"stem.{path[0]}.{leaf}"
    stage = index // 2
    if index % 2 == 0:
        return f"stages.{stage}.downsample.{path[0]}.{leaf}"
    if leaf == "layer_scale":
        return f"stages.{stage}.blocks.{path[0]}.gamma"
    inner = {"0": "conv_dw", "2": "norm", "3": "mlp.fc1", "5": "mlp.fc2"}[path[2]]
    return f"stages.{stage}.blocks.{path[0]}.{inner}.{leaf}"
