"""EfficientNet-B0 as in torchvision, in plain PyTorch with the same names in its state dict."""

import pytest

torch = pytest.importorskip("torch")
nn = torch.nn

# Expansion, kernel and stride of each stage.
STAGES = [(1, 3, 1), (6, 3, 2), (6, 5, 2), (6, 3, 2), (6, 5, 1), (6, 5, 2), (6, 3, 1)]


class Unit(nn.Sequential):
    def __init__(self, channels: int, outputs: int, taps: int = 1, stride: int = 1, groups: int = 1, active=True):
        convolution = nn.Conv2d(channels, outputs, taps, stride, taps // 2, groups=groups, bias=False)
        super().__init__(convolution, nn.BatchNorm2d(outputs), *([nn.SiLU()] if active else []))


class Gate(nn.Module):
    def __init__(self, channels: int, reduced: int):
        super().__init__()
        self.fc1, self.fc2 = nn.Conv2d(channels, reduced, 1), nn.Conv2d(reduced, channels, 1)

    def forward(self, x):
        y = nn.functional.silu(self.fc1(x.mean((2, 3), keepdim=True)))
        return x * torch.sigmoid(self.fc2(y))


class Block(nn.Module):
    def __init__(self, channels: int, outputs: int, expansion: int, taps: int, stride: int):
        super().__init__()
        inner, self.residual = channels * expansion, stride == 1 and channels == outputs
        layers = [Unit(channels, inner)] if expansion > 1 else []
        layers += [Unit(inner, inner, taps, stride, groups=inner), Gate(inner, max(1, channels // 4))]
        self.block = nn.Sequential(*layers, Unit(inner, outputs, active=False))

    def forward(self, x):
        return self.block(x) + x if self.residual else self.block(x)


class EfficientNet(nn.Module):
    def __init__(self, stem: int, widths, depths, classes: int, channels: int):
        super().__init__()
        features, inputs = [Unit(channels, stem, 3, 2)], stem
        for (expansion, taps, stride), width, depth in zip(STAGES, widths, depths, strict=True):
            blocks = []
            for index in range(depth):
                blocks.append(Block(inputs, width, expansion, taps, 1 if index else stride))
                inputs = width
            features.append(nn.Sequential(*blocks))
        self.features = nn.Sequential(*features, Unit(inputs, 4 * inputs))
        self.classifier = nn.Sequential(nn.Dropout(0.2), nn.Linear(4 * inputs, classes))

    def forward(self, x):
        return self.classifier(self.features(x).mean((2, 3)))


def timm_names(name: str) -> str:
    """Returns timm's name of the tensor that torchvision calls `name`."""
    part, *path, leaf = name.split(".")
    if part == "classifier":
        return f"classifier.{leaf}"
    stage, *path = map(str, path)
    if stage in "08":
        return f"{({'0': ('conv_stem', 'bn1'), '8': ('conv_head', 'bn2')}[stage])[int(path[0])]}.{leaf}"
    block, _, *inner = path  # the part in between is the word "block"
    names = {"0.0": "conv_pw", "0.1": "bn1", "1.0": "conv_dw", "1.1": "bn2", "3.0": "conv_pwl", "3.1": "bn3"}
    names |= {"2.fc1": "se.conv_reduce", "2.fc2": "se.conv_expand"}
    if stage == "1":
        names = {"0.0": "conv_dw", "0.1": "bn1", "2.0": "conv_pw", "2.1": "bn2"}
        names |= {"1.fc1": "se.conv_reduce", "1.fc2": "se.conv_expand"}
    return f"blocks.{int(stage) - 1}.{block}.{names['.'.join(inner)]}.{leaf}"
