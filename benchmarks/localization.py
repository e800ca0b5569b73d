"""Time the way from features to infoCAM, box and IoU, beside public implementations.

    pip install torch && python benchmarks/localization.py [--images=128] [--rounds=5]

The other implementations follow the authors' program and the public WSOL evaluation.
They handle one image at a time. PyTorch gathers the weights of one class after another
and sums over a region by a convolution with ones; OpenCV resizes, applies the color
map, and finds contours and boxes. All implementations run in this process in turns, and
the fastest round counts. The net's forward pass is timed too, because it is the other
half of an evaluation.
"""

import time
from collections.abc import Callable

import common
import cv2
import numpy as np
from scipy import ndimage

from mi_classifier import activation_maps, localization

SIZE, REGION, CLASSES, CHANNELS = 224, 5, 200, 1024


def ours_boxes(features: object, kernel: object, labels: np.ndarray) -> np.ndarray:
    """Computes infoCAM and boxes of a batch at once."""
    maps = activation_maps.info_cam(features, kernel, labels, REGION)
    return localization.boxes_from_maps(maps, SIZE)


def authors_maps(features: object, weight: object, labels: np.ndarray) -> list:
    """Computes infoCAM in a loop over images and classes."""
    import torch

    ones = torch.ones(1, 1, REGION, REGION)
    maps = []
    for feature, label in zip(features, labels.tolist(), strict=True):
        own = (feature * weight[label][:, None, None]).sum(0)
        others = torch.zeros_like(own)
        for other in range(len(weight)):
            if other != label:
                others += (feature * weight[other][:, None, None]).sum(0)
        cells = (own - others / (len(weight) - 1))[None, None]
        summed = torch.nn.functional.conv2d(cells, ones, padding=REGION - 1)
        maps.append(summed[0, 0].numpy())
    return maps


def authors_vectorized_maps(
    features: object, weight: object, labels: np.ndarray
) -> list:
    """Computes infoCAM by one matrix product an image over all classes."""
    import torch

    ones = torch.ones(1, 1, REGION, REGION)
    maps = []
    for feature, label in zip(features, labels.tolist(), strict=True):
        every = torch.tensordot(weight, feature, dims=1)
        others = (every.sum(0) - every[label]) / (len(weight) - 1)
        cells = (every[label] - others)[None, None]
        summed = torch.nn.functional.conv2d(cells, ones, padding=REGION - 1)
        maps.append(summed[0, 0].numpy())
    return maps


def authors_boxes(maps: list) -> np.ndarray:
    """Finds boxes: color map, threshold of its gray values, largest contour."""
    boxes = []
    for m in maps:
        large = cv2.resize(m, (SIZE, SIZE), interpolation=cv2.INTER_CUBIC)
        large = (large - large.min()) / (large.max() - large.min())
        colors = cv2.applyColorMap(np.uint8(255 * large), cv2.COLORMAP_JET)
        gray = cv2.cvtColor(colors, cv2.COLOR_BGR2GRAY)
        boxes.append(_largest(gray, int(0.2 * gray.max()), cv2.RETR_TREE))
    return np.array(boxes)


def ours_curve(maps: np.ndarray, truth: np.ndarray) -> np.ndarray:
    """Computes the box accuracy curve of the public evaluation, a batch at once."""
    scores = localization.score_maps(maps, SIZE)
    ones = np.ones(len(maps), int)
    return localization.box_accuracy_curve(scores, truth, ones)


def loop_curve(maps: np.ndarray, truth: np.ndarray) -> np.ndarray:
    """Computes the box accuracy curve in a loop over maps and thresholds."""
    overlaps = []
    for m, (true,) in zip(maps, truth.astype(int), strict=True):
        large = cv2.resize(m, (SIZE, SIZE), interpolation=cv2.INTER_CUBIC)
        large = (large - large.min()) / (large.max() - large.min())
        gray = (large * 255).astype(np.uint8)
        boxes = np.array(
            [
                _largest(gray, int(t * gray.max()), cv2.RETR_TREE)
                for t in localization.THRESHOLDS
            ]
        )
        boxes = np.minimum(boxes, SIZE - 1)
        top, bottom = np.maximum(boxes[:, :2], true[:2]), np.minimum(boxes, true)[:, 2:]
        common = np.maximum(bottom - top + 1, 0).prod(1)
        areas = [(b[..., 2:] - b[..., :2] + 1).prod(-1) for b in (boxes, true)]
        overlaps.append(common / (areas[0] + areas[1] - common))
    overlaps = np.array(overlaps)
    return np.stack([(overlaps >= t).mean(0) for t in localization.IOUS])


def _largest(gray: np.ndarray, threshold: int, mode: int) -> tuple[int, ...]:
    _, mask = cv2.threshold(gray, threshold, 255, cv2.THRESH_BINARY)
    contours, _ = cv2.findContours(mask, mode, cv2.CHAIN_APPROX_SIMPLE)
    if not contours:
        return 0, 0, 0, 0
    x, y, width, height = cv2.boundingRect(max(contours, key=cv2.contourArea))
    return x, y, x + width, y + height


def fastest(rounds: int, sides: dict[str, Callable]) -> dict[str, float]:
    """Runs the implementations in turns; returns the seconds of each one's fastest run.

    Each runs once before, to warm up.
    """
    times: dict[str, list[float]] = {name: [] for name in sides}
    for run in sides.values():
        run()
    for _ in range(rounds):
        for name, run in sides.items():
            started = time.perf_counter()
            run()
            times[name].append(time.perf_counter() - started)
    return {name: min(values) for name, values in times.items()}


def main() -> None:
    parser = common.parser(__doc__)
    parser.add_argument("--images", type=int, default=128)
    parser.add_argument("--rounds", type=int, default=5)
    arguments = parser.parse_args()

    import jax
    import torch

    generator = np.random.default_rng(0)
    shape = (arguments.images, 14, 14, CHANNELS)
    noise = generator.standard_normal(shape, np.float32)
    smooth = ndimage.gaussian_filter(noise, (0, 1.5, 1.5, 0))
    features = np.maximum(smooth / smooth.std(), 0)
    kernel = generator.standard_normal((CHANNELS, CLASSES), np.float32)
    labels = generator.integers(0, CLASSES, arguments.images)
    corners = generator.integers(0, SIZE, (2, arguments.images, 1, 2))
    truth = np.concatenate([corners.min(0), corners.max(0)], -1).astype(np.float32)

    torch_features = torch.from_numpy(features.transpose(0, 3, 1, 2).copy())
    torch_weight = torch.from_numpy(kernel.T.copy())
    jax_features, jax_kernel = jax.device_put((features, kernel))
    maps = np.asarray(activation_maps.info_cam(features, kernel, labels, REGION))

    def ours() -> np.ndarray:
        return localization.iou(
            ours_boxes(jax_features, jax_kernel, labels), truth[:, 0]
        )

    def theirs(make_maps: Callable) -> np.ndarray:
        found = authors_boxes(make_maps(torch_features, torch_weight, labels))
        return localization.iou(found.astype(np.float32), truth[:, 0])

    reference = np.stack(authors_maps(torch_features, torch_weight, labels))
    scale = np.abs(reference).max()
    agreement = localization.iou(
        ours_boxes(features, kernel, labels),
        authors_boxes(reference).astype(np.float32),
    )
    print(f"maps differ by {np.abs(maps - reference).max() / scale:.1e} of the largest")
    print(f"boxes agree at a mean IoU of {agreement.mean():.3f}")
    curves = ours_curve(maps, truth), loop_curve(maps, truth)
    print(f"curves differ by {np.abs(curves[0] - curves[1]).max():.3f} at most")

    cases = {
        "features to infoCAM, box, IoU": {
            "ours": ours,
            "a gather a class": lambda: theirs(authors_maps),
            "a product an image": lambda: theirs(authors_vectorized_maps),
            "VGG16-GAP's forward pass, ours": forward_pass(arguments.images),
        },
        "maps to 100-threshold curve": {
            "ours": lambda: ours_curve(maps, truth),
            "OpenCV loop": lambda: loop_curve(maps, truth),
        },
    }
    rows, results = [], {}
    for title, sides in cases.items():
        results[title] = seconds = fastest(arguments.rounds, sides)
        for name, value in seconds.items():
            each = f"{1e3 * value / arguments.images:.3f}"
            ratio = f"{value / seconds['ours']:.1f}"
            rows.append(["" if name != "ours" else title, name, each, ratio])
    columns = ["localization", "", "ms an image", "times ours"]
    note = f"{arguments.images} images, maps on {jax.devices()[0].device_kind}"
    common.report("maps to boxes", columns, rows, results, arguments.json, [note])


def forward_pass(images: int) -> Callable[[], object]:
    """Returns VGG16-GAP's forward pass on random images, four at a time on CPUs."""
    import jax

    from mi_classifier.models import create_model, infer

    model = create_model("vgg16_gap", CLASSES)
    size = 4 if jax.default_backend() == "cpu" else images
    batch = jax.random.normal(jax.random.key(0), (size, SIZE, SIZE, 3))
    variables = model.init(jax.random.key(1), batch[:1])
    forward = jax.jit(lambda batch: infer(model, variables, batch).features)

    def run() -> None:
        for _ in range(images // size):
            forward(batch).block_until_ready()

    return run


if __name__ == "__main__":
    main()
