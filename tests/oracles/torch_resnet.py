"""ResNet v1.5 as in torchvision, in plain PyTorch with the same names in its state dict."""

import pytest

torch = pytest.importorskip("torch")
nn = torch.nn


def convolution(channels: int, outputs: int, taps: int, stride: int = 1) -> nn.Conv2d:
    return nn.Conv2d(channels, outputs, taps, stride, taps // 2, bias=False)


class Block(nn.Module):
    def __init__(self, channels: int, inner: int, stride: int, bottleneck: bool):
        super().__init__()
        outer = inner * (4 if bottleneck else 1)
        shapes = [(channels, inner, 1, 1), (inner, inner, 3, stride), (inner, outer, 1, 1)]
        if not bottleneck:
            shapes = [(channels, inner, 3, stride), (inner, inner, 3, 1)]
        self.count = len(shapes)
        for number, shape in enumerate(shapes, 1):
            setattr(self, f"conv{number}", convolution(*shape[:3], shape[3]))
            setattr(self, f"bn{number}", nn.BatchNorm2d(shape[1]))
        if stride > 1 or channels != outer:
            self.downsample = nn.Sequential(convolution(channels, outer, 1, stride), nn.BatchNorm2d(outer))

    def forward(self, x):
        y = x
        for number in range(1, self.count + 1):
            y = getattr(self, f"bn{number}")(getattr(self, f"conv{number}")(y))
            if number < self.count:
                y = torch.relu(y)
        return torch.relu(y + (self.downsample(x) if hasattr(self, "downsample") else x))


class ResNet(nn.Module):
    def __init__(self, depths, bottleneck: bool, width: int, classes: int, channels: int):
        super().__init__()
        self.conv1, self.bn1 = convolution(channels, width, 7, 2), nn.BatchNorm2d(width)
        self.depths, channels = depths, width
        for stage, depth in enumerate(depths):
            blocks = []
            for index in range(depth):
                inner = width * 2**stage
                blocks.append(Block(channels, inner, 2 if stage and not index else 1, bottleneck))
                channels = inner * (4 if bottleneck else 1)
            setattr(self, f"layer{stage + 1}", nn.Sequential(*blocks))
        self.fc = nn.Linear(channels, classes)

    def features(self, x):
        x = nn.functional.max_pool2d(torch.relu(self.bn1(self.conv1(x))), 3, 2, 1)
        for stage in range(len(self.depths)):
            x = getattr(self, f"layer{stage + 1}")(x)
        return x

    def forward(self, x):
        return self.fc(self.features(x).mean((2, 3)))
