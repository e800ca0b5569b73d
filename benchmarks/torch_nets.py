"""The PyTorch nets that ours are timed against, as torchvision has them."""

from itertools import pairwise

from torch import Tensor, nn


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


_NETS = {
    "mlp": _mlp,
    "mnist_cnn": _mnist_cnn,
    "vgg16_gap": _vgg16_gap,
    "resnet50": _resnet50,
}
