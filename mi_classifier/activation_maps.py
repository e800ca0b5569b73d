"""Class activation maps: CAM, infoCAM and infoCAM+ (Section 5).

If global average pooling precedes the head, a logit is the mean of the cells'
contributions, up to the bias. CAM shows each cell's contribution to a label's logit.
infoCAM shows its contribution to the difference between the pointwise mutual
information (PMI) of a label and of other labels. A region contributes the sum of its
cells. All maps are linear in the features, so one weight vector per class is enough.
"""

import dataclasses
import functools
import numbers
from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike

from mi_classifier import information
from mi_classifier.errors import options_of
from mi_classifier.rules import by_usual_rules

Array = jax.Array
# By default, accelerators round the factors to fewer digits.
_einsum = functools.partial(jnp.einsum, precision="highest")
PADDINGS = ("full", "same")
# Whom infoCAM+ subtracts, and the words for it in a table.
RIVALS = {"region": "rival by region", "image": "rival of the image"}
_CLASS_BYTES = 2**21  # size of the maps computed at once, which fit in a CPU's cache
_jit = functools.partial(jax.jit, static_argnames=("region", "padding"))


@by_usual_rules
@_jit
def class_activation_map(
    features: ArrayLike,
    head_kernel: ArrayLike,
    labels: ArrayLike,
    region: int = 1,
    padding: str = "full",
) -> Array:
    """Compute CAM, Eq. 12: each cell's contribution to a label's logit.

    Args:
      features: g `[B, h, w, K]`, after the last ReLU, any floating dtype.
      head_kernel: W `[K, M]` of the head, without its bias.
      labels: integers in [0, M), `[B]`, or `[B, G]` for G maps of each image; one out
        of range gives a map of NaN.
      region: R, the side in cells of the square region that each value is a sum over.
      padding: "full" gives a value for every region that overlaps the map, "same" one
        value per cell. Cells outside the map count as 0. An even region has no middle:
        "same" puts its value at the cell above and left of the center.

    Returns:
      float32 or wider; `[B, h + R - 1, w + R - 1]` if "full", `[B, h, w]` if "same".
      With labels `[B, G]`, the axis G follows B.

    Raises:
      ValueError: shapes do not fit, `region` is below 1, or `padding` is unknown.
      TypeError: labels are not integers.

    Examples:
      >>> features = jnp.array([[[[1.0, 0.0], [0.0, 2.0]]]])  # [B, h, w, K]
      >>> class_activation_map(features, jnp.eye(2), jnp.array([1])).tolist()
      [[[0.0, 2.0]]]
    """
    features, head_kernel, labels = _check(features, head_kernel, labels)
    return _sum_regions(_project(features, _rows(head_kernel, labels)), region, padding)


@by_usual_rules
@_jit
def info_cam(
    features: ArrayLike,
    head_kernel: ArrayLike,
    labels: ArrayLike,
    region: int = 1,
    padding: str = "full",
) -> Array:
    """Compute infoCAM, the informative class activation map, Eq. 14.

    It shows each region's contribution to PMI(x, y) minus the mean of PMI(x, y') over
    y' != y. The normalizer of the PMI cancels, so it is CAM with the weights
    `w_y - mean_{y' != y} w_y'`. If there is only one class, as for the one logit of a
    sigmoid, nothing is subtracted, and the map is CAM.

    The arguments, the result and the errors are those of `class_activation_map`.

    Examples:
      >>> features = jnp.array([[[[1.0, 0.0], [0.0, 2.0]]]])  # [B, h, w, K]
      >>> info_cam(features, jnp.eye(2), jnp.array([1])).tolist()
      [[[-1.0, 2.0]]]
    """
    features, head_kernel, labels = _check(features, head_kernel, labels)
    weights, classes = _rows(head_kernel, labels), head_kernel.shape[-1]
    if classes > 1:
        # The mean over the others follows from the mean over all.
        weights = (weights - head_kernel.mean(-1)) * (classes / (classes - 1))
    return _sum_regions(_project(features, weights), region, padding)


@by_usual_rules
@functools.partial(jax.jit, static_argnames=("region", "padding", "rival"))
def info_cam_plus(
    features: ArrayLike,
    head_kernel: ArrayLike,
    labels: ArrayLike,
    region: int = 1,
    padding: str = "full",
    rival: str = "region",
    logits: ArrayLike | None = None,
) -> Array:
    """Compute infoCAM+, Eq. 15: the label minus its least likely rival.

    The result and the errors are those of `class_activation_map`.

    Args:
      features: as in `class_activation_map`.
      head_kernel: as there.
      labels: as there.
      region: as there.
      padding: as there.
      rival: "region" subtracts in each region the class with the smallest contribution
        there, as in the paper's text (so no value is negative); "image" subtracts the
        class of the image's lowest logit, as in the authors' program.
      logits: `[B, M]`, for `rival="image"`; by default computed from the features and
        the kernel, without the head's bias.

    Raises:
      ValueError: as there, or `rival` is unknown.

    Examples:
      >>> features = jnp.array([[[[1.0, 0.0], [0.0, 2.0]]]])  # [B, h, w, K]
      >>> info_cam_plus(features, jnp.eye(2), jnp.array([1])).tolist()
      [[[0.0, 2.0]]]
    """
    features, head_kernel, labels = _check(features, head_kernel, labels)
    if rival not in RIVALS:
        raise ValueError(f"rival must be one of {tuple(RIVALS)}, not {rival!r}")
    # Subtracting the classes' mean changes no difference, but it saves precision.
    if rival == "image":
        if logits is None:
            centered = head_kernel - head_kernel.mean(-1, keepdims=True)
            logits = _einsum("bk,km->bm", features.mean((1, 2)), centered)
        logits = information.as_float(logits)
        shape = (len(features), head_kernel.shape[-1])
        information.check_shape("logits", logits, shape)
        lowest = jnp.argmin(logits, -1).reshape(-1, *(1,) * (labels.ndim - 1))
        weights = _rows(head_kernel, labels) - _rows(head_kernel, lowest)
        return _sum_regions(_project(features, weights), region, padding)
    return _minus_least(features, head_kernel, labels, region, padding)


def _minus_least(
    features: Array, head_kernel: Array, labels: Array, region: int, padding: str
) -> Array:
    """Return each region's contribution to the label minus the smallest to any."""
    batch, height, width, _ = features.shape
    classes = head_kernel.shape[-1]
    indices = information.label_indices(labels, classes)
    indices = indices if labels.ndim == 2 else indices[:, None]
    # Take some classes at a time, because the maps of all may not fit in memory.
    cells = batch * (height + region - 1) * (width + region - 1)
    count = min(max(_CLASS_BYTES // (4 * max(cells, 1)), 32), classes)
    mean = head_kernel.mean(-1, keepdims=True)

    def add(part: Array, found: tuple[Array, Array]) -> tuple[Array, Array]:
        own, least = found
        first = jnp.minimum(part * count, classes - count)
        some = jax.lax.dynamic_slice_in_dim(head_kernel, first, count, 1) - mean
        every = _einsum("bhwk,km->bhwm", features, some)
        every = _sum_regions(every, region, padding, axes=(1, 2))
        places = indices - first
        here = jax.vmap(lambda maps, i: maps.at[..., i].get(mode="fill"))(every, places)
        inside = (places >= 0) & (places < count)
        own = jnp.where(inside[:, None, None], here, own)
        return own, jnp.minimum(least, every.min(-1))

    more = region - 1 if padding == "full" else 0
    shape = batch, height + more, width + more
    dtype = jnp.result_type(features, head_kernel)
    own = jnp.full((*shape, indices.shape[1]), jnp.nan, dtype)
    found = own, jnp.full(shape, jnp.inf, dtype)
    own, least = jax.lax.fori_loop(0, -(-classes // count), add, found)
    difference = jnp.moveaxis(own - least[..., None], -1, 1)
    return difference if labels.ndim == 2 else difference[:, 0]


@dataclasses.dataclass(frozen=True)
class Map:
    """A map that evaluations show.

    Attributes:
      function: takes `(features, head_kernel, labels, **options)`, as `info_cam` does.
      title: its name in tables and pictures.
      fixed: options that a config cannot change.
      needs_logits: whether `function` also takes `logits`, `[B, M]` with the bias.
      words: what the value of an option adds to the title, by option and value.
    """

    function: Callable[..., Array]
    title: str
    fixed: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    needs_logits: bool = False
    words: Mapping[str, Mapping[str, str]] = dataclasses.field(default_factory=dict)

    def options(self, settings: Mapping[str, Any]) -> dict[str, Any]:
        """Return the options for `function`: its part of the settings, and `fixed`."""
        own = options_of(self.function, given=3)
        return {n: settings[n] for n in own if n in settings} | dict(self.fixed)

    def title_with(self, settings: Mapping[str, Any]) -> str:
        """Return the title, with the words for the options in the settings.

        Examples:
          >>> MAPS["info_cam_plus"].title_with({"region": 3, "rival": "image"})
          'infoCAM+, rival of the image'
        """
        options = self.options(settings)
        added = [words[options[n]] for n, words in self.words.items() if n in options]
        return ", ".join([self.title, *added])


# The maps that evaluations show, in the order of the tables. The paper's CAM has no
# regions. CAM with the config's region tells what of infoCAM is due to the region.
MAPS: dict[str, Map] = {
    "cam": Map(class_activation_map, "CAM", fixed={"region": 1}),
    "cam_region": Map(class_activation_map, "CAM, region"),
    "info_cam": Map(info_cam, "infoCAM"),
    "info_cam_plus": Map(
        info_cam_plus, "infoCAM+", needs_logits=True, words={"rival": RIVALS}
    ),
}


def region_warning(region: int, cells: tuple[int, int]) -> str:
    """Return a warning if a region covers more than a third of a map's side, else "".

    Args:
      region: R, the side of the region in cells.
      cells: height and width of the feature map in cells.

    Examples:
      >>> region_warning(2, (7, 7))
      ''
      >>> print(region_warning(3, (4, 4)).partition(";")[0])
      localization.region: R = 3 covers 3 of the map's 4 cells a side
    """
    side = min(cells)
    if region <= max(side // 3, 1):
        return ""
    best = f"R = {side // 3} or less" if side >= 6 else "R = 1"
    return (
        f"localization.region: R = {region} covers {min(region, side)} of the map's "
        f"{side} cells a side; a region this large blurs the map; choose {best}, or a "
        "finer map"
    )


def _check(
    features: ArrayLike, head_kernel: ArrayLike, labels: ArrayLike
) -> tuple[Array, Array, Array]:
    features, head_kernel = map(information.as_float, (features, head_kernel))
    labels = jnp.asarray(labels)
    if features.ndim != 4 or 0 in features.shape[1:3]:
        raise ValueError(f"features must be [B, h, w, K], not {features.shape}")
    if head_kernel.ndim != 2 or not head_kernel.shape[-1]:
        raise ValueError(f"head_kernel must be [K, M], not {head_kernel.shape}")
    if len(head_kernel) != features.shape[-1]:
        raise ValueError(
            f"features {features.shape} and head_kernel {head_kernel.shape} differ in K"
        )
    if labels.ndim not in (1, 2) or len(labels) != len(features):
        raise ValueError(
            f"labels must be [B] or [B, G] with B = {len(features)}, not {labels.shape}"
        )
    return features, head_kernel, labels


def _rows(head_kernel: Array, labels: Array) -> Array:
    """Return the labels' weights, `[B, K]` or `[B, G, K]`."""
    indices = information.label_indices(labels, head_kernel.shape[-1])
    return head_kernel.T.at[indices].get(mode="fill", fill_value=jnp.nan)


def _project(features: Array, weights: Array) -> Array:
    return _einsum("bhwk,b...k->b...hw", features, weights)


def _sum_regions(
    maps: Array, region: int, padding: str, axes: tuple[int, int] = (-2, -1)
) -> Array:
    """Sum over every square region with sides of `region` cells."""
    if not isinstance(region, numbers.Integral) or region < 1:
        raise ValueError(f"region must be a whole number of at least 1, not {region}")
    if padding not in PADDINGS:
        raise ValueError(f"padding must be one of {PADDINGS}, not {padding!r}")
    before = region - 1 if padding == "full" else (region - 1) // 2
    after = region - 1 if padding == "full" else region // 2
    for axis in axes:  # the sum over a square is a sum of sums over rows
        size = maps.shape[axis] + before + after - region + 1
        pad = [(0, 0)] * maps.ndim
        pad[axis] = (before, after)
        padded = jnp.pad(maps, pad)
        maps = sum(
            jax.lax.slice_in_dim(padded, i, i + size, axis=axis % maps.ndim)
            for i in range(region)
        )
    return maps
