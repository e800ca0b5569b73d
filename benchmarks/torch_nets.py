"""The PyTorch nets that ours are timed against, as torchvision has them."""

from collections.abc import Sequence
from itertools import pairwise

import torch
from torch import Tensor, nn

from mi_classifier.models import efficientnet, inception


def create(name: str, num_classes: int) -> nn.Module:
    """Creates a net by the name that ours has; it maps `[B, C, H, W]` to logits."""
    return _NETS[name](num_classes)


def _mlp(num_classes: int) -> nn.Module:
    layers = [
        layer
        for sizes in pairwise((10, 100, 100, 100))
        for layer in (nn.Linear(*sizes), nn.ReLU())
    ]
    return nn.Sequential(*layers, nn.Linear(100, num_classes))


def _mnist_cnn(num_classes: int) -> nn.Module:
    return nn.Sequential(
        *(nn.Conv2d(1, 20, 5), nn.ReLU(), nn.MaxPool2d(2)),
        *(nn.Conv2d(20, 50, 5), nn.ReLU(), nn.MaxPool2d(2)),
        *(nn.Flatten(), nn.Linear(800, 500), nn.ReLU(), nn.Linear(500, num_classes)),
    )


def _gap_cnn(num_classes: int) -> nn.Module:
    layers, channels = [], 1
    for index, (width, size) in enumerate(
        ((16, 5), (32, 3), (64, 3), (64, 3), (64, 3))
    ):
        layers += [nn.Conv2d(channels, width, size, padding=size // 2), nn.ReLU()]
        channels = width
        if index < 2:
            layers.append(nn.MaxPool2d(2))
    return nn.Sequential(*layers, *_gap_head(channels, num_classes))


def _gap_head(channels: int, num_classes: int) -> list[nn.Module]:
    return [nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(channels, num_classes)]


def _vgg16_gap(num_classes: int) -> nn.Module:
    stages = ((64, 64), (128, 128), (256,) * 3, (512,) * 3, (512,) * 3, (1_024,))
    layers, channels = [], 3
    for stage, widths in enumerate(stages, start=1):
        for width in widths:
            layers += [nn.Conv2d(channels, width, 3, padding=1), nn.ReLU(inplace=True)]
            channels = width
        if stage < 5:
            layers.append(nn.MaxPool2d(2))
    return nn.Sequential(*layers, *_gap_head(channels, num_classes))


class _Bottleneck(nn.Module):
    def __init__(self, channels: int, width: int, stride: int) -> None:
        super().__init__()
        self.body = nn.Sequential(
            *(nn.Conv2d(channels, width, 1, bias=False), nn.BatchNorm2d(width)),
            nn.ReLU(inplace=True),
            nn.Conv2d(width, width, 3, stride, padding=1, bias=False),
            *(nn.BatchNorm2d(width), nn.ReLU(inplace=True)),
            nn.Conv2d(width, 4 * width, 1, bias=False),
            nn.BatchNorm2d(4 * width),
        )
        self.shortcut = nn.Identity()
        if channels != 4 * width:
            self.shortcut = nn.Sequential(
                nn.Conv2d(channels, 4 * width, 1, stride, bias=False),
                nn.BatchNorm2d(4 * width),
            )
        self.relu = nn.ReLU(inplace=True)

    def forward(self, x: Tensor) -> Tensor:
        return self.relu(self.body(x) + self.shortcut(x))


def _resnet50(num_classes: int) -> nn.Module:
    layers = [
        nn.Conv2d(3, 64, 7, 2, padding=3, bias=False),
        *(nn.BatchNorm2d(64), nn.ReLU(inplace=True), nn.MaxPool2d(3, 2, padding=1)),
    ]
    channels = 64
    for width, blocks, stride in ((64, 3, 1), (128, 4, 2), (256, 6, 2), (512, 3, 1)):
        for block in range(blocks):
            layers.append(_Bottleneck(channels, width, 1 if block else stride))
            channels = 4 * width
    return nn.Sequential(*layers, *_gap_head(channels, num_classes))


class _Branches(nn.Module):
    """What our table of Inception's branches says, side by side."""

    def __init__(self, channels: int, branches: Sequence) -> None:
        super().__init__()
        self.branches, self.channels = nn.ModuleList(), 0
        for branch in branches:
            layers, width = [], channels
            for step in branch:
                layer, width = _inception_step(width, step)
                layers.append(layer)
            self.branches.append(nn.Sequential(*layers))
            self.channels += width

    def forward(self, x: Tensor) -> Tensor:
        return torch.cat([branch(x) for branch in self.branches], 1)


def _inception_step(channels: int, step: object) -> tuple[nn.Module, int]:
    if step == "average":
        return nn.AvgPool2d(3, 1, 1), channels
    if step == "maximum":
        return nn.MaxPool2d(3, 2), channels
    if isinstance(step[0], str):
        return _conv_norm(channels, *step[1:]), step[1]
    inner = _Branches(channels, [(part,) for part in step])
    return inner, inner.channels


def _conv_norm(
    channels: int,
    width: int,
    size: int | tuple[int, int],
    stride: int = 1,
    padded: bool = True,
) -> nn.Module:
    sizes = (size, size) if isinstance(size, int) else size
    padding = [s // 2 if padded and stride == 1 else 0 for s in sizes]
    return nn.Sequential(
        nn.Conv2d(channels, width, sizes, stride, padding, bias=False),
        nn.BatchNorm2d(width, eps=1e-3),
        nn.ReLU(inplace=True),
    )


def _inception_v3(num_classes: int) -> nn.Module:
    layers = [
        *(_conv_norm(3, 32, 3, 2), _conv_norm(32, 32, 3, 1, False)),
        *(_conv_norm(32, 64, 3), nn.MaxPool2d(3, 2), _conv_norm(64, 80, 1)),
        *(_conv_norm(80, 192, 3, 1, False), nn.MaxPool2d(3, 2)),
    ]
    channels = 192
    for branches in inception.BRANCHES.values():
        layers.append(_Branches(channels, branches))
        channels = layers[-1].channels
    pool, flatten, dense = _gap_head(channels, num_classes)
    return nn.Sequential(*layers, pool, flatten, nn.Dropout(0.5), dense)


class _Inverted(nn.Module):
    """EfficientNet's block: expand, convolve each channel by itself, project."""

    def __init__(
        self, channels: int, expansion: int, size: int, stride: int, width: int
    ) -> None:
        super().__init__()
        wide = channels * expansion
        layers = _conv_relu6(channels, wide, 1) if expansion > 1 else []
        layers += _conv_relu6(wide, wide, size, stride, groups=wide)
        layers += _conv_relu6(wide, width, 1)[:2]
        self.body = nn.Sequential(*layers)
        self.adds = stride == 1 and channels == width

    def forward(self, x: Tensor) -> Tensor:
        return x + self.body(x) if self.adds else self.body(x)


def _conv_relu6(
    channels: int, width: int, size: int, stride: int = 1, groups: int = 1
) -> list[nn.Module]:
    # Padded equally on both sides: the same work as TensorFlow's padding, without the
    # copy of the image that PyTorch needs for that.
    options = {"padding": size // 2, "groups": groups, "bias": False}
    conv = nn.Conv2d(channels, width, size, stride, **options)
    return [conv, nn.BatchNorm2d(width, eps=1e-3), nn.ReLU6(inplace=True)]


def _efficientnet_lite0(num_classes: int) -> nn.Module:
    layers, channels = _conv_relu6(3, 32, 3, 2), 32
    for expansion, size, first_stride, width, count in efficientnet.GROUPS:
        for stride in (first_stride, *[1] * (count - 1)):
            layers.append(_Inverted(channels, expansion, size, stride, width))
            channels = width
    layers += _conv_relu6(channels, 1_280, 1)
    return nn.Sequential(*layers, *_gap_head(1_280, num_classes))


_NETS = {
    "efficientnet_lite0": _efficientnet_lite0,
    "gap_cnn": _gap_cnn,
    "inception_v3": _inception_v3,
    "mlp": _mlp,
    "mnist_cnn": _mnist_cnn,
    "vgg16_gap": _vgg16_gap,
    "resnet50": _resnet50,
}
