"""Class activation maps: CAM, infoCAM and infoCAM+ (Section 5).

Under a global-average-pooled head a logit is the mean over cells of what each cell adds
to it, up to the bias. CAM is that addition; infoCAM is what a cell adds to the
difference between a label's pointwise mutual information and its rivals'; and a region
of cells adds what its cells do. All are linear in the features, so that no map needs
more than one weight vector a class.
"""

import dataclasses
import functools
import inspect
from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike

from mi_classifier import information

Array = jax.Array
# Accelerators would round the factors to fewer digits.
_einsum = functools.partial(jnp.einsum, precision="highest")
PADDINGS = ("full", "same")
RIVALS = ("region", "image")

_CLASS_BYTES = 2**21  # of the maps of some classes: they stay in a CPU's cache

_jit = functools.partial(jax.jit, static_argnames=("region", "padding"))


@_jit
def class_activation_map(
    features: ArrayLike,
    head_kernel: ArrayLike,
    labels: ArrayLike,
    region: int = 1,
    padding: str = "full",
) -> Array:
    """Class activation map, Eq. 12: what each cell adds to the label's logit.

    Args:
      features: g `[B, h, w, K]`, after the last ReLU, any floating dtype.
      head_kernel: W `[K, M]` of the head, without its bias.
      labels: integers in [0, M), `[B]`, or `[B, G]` for G maps of each image; one out
        of range gives a map of NaN.
      region: R, cells on a side of the square region that a value is the sum of.
      padding: "full" for every region that meets the map, "same" for one a cell. Cells
        outside the map count as 0. An even region has no middle: its "same" value
        stands at the cell above and left of it.

    Returns:
      float32 or wider; `[B, h + R - 1, w + R - 1]` if "full", `[B, h, w]` if "same";
      after B the G of `labels`, if any.

    Raises:
      ValueError: shapes do not fit, a region below 1, an unknown padding.
      TypeError: labels are not integers.
    """
    features, head_kernel, labels = _check(features, head_kernel, labels)
    return _sum_regions(_project(features, _rows(head_kernel, labels)), region, padding)


@_jit
def info_cam(
    features: ArrayLike,
    head_kernel: ArrayLike,
    labels: ArrayLike,
    region: int = 1,
    padding: str = "full",
) -> Array:
    """Informative class activation map (infoCAM), Eq. 14.

    What each region adds to PMI(x, y) less the mean of PMI(x, y') over y' != y. The
    normalizer of the PMI cancels, and the weights `w_y - mean_{y' != y} w_y'` do the
    rest. Without another class there is nothing to subtract, as for the one logit of a
    sigmoid, and the map is CAM.

    Args:
      features: as in `class_activation_map`.
      head_kernel: as there.
      labels: as there.
      region: as there.
      padding: as there.

    Returns:
      As there.

    Raises:
      ValueError: as there.
      TypeError: as there.
    """
    features, head_kernel, labels = _check(features, head_kernel, labels)
    weights, classes = _rows(head_kernel, labels), head_kernel.shape[-1]
    if classes > 1:
        # The mean over the others follows from the mean over all.
        weights = (weights - head_kernel.mean(-1)) * (classes / (classes - 1))
    return _sum_regions(_project(features, weights), region, padding)


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
    """infoCAM+, Eq. 15: the label against its most unlikely rival.

    Args:
      features: as in `class_activation_map`.
      head_kernel: as there.
      labels: as there.
      region: as there.
      padding: as there.
      rival: "region" subtracts in each region the class that it adds least to, as the
        paper's text has it (the map is then nowhere negative); "image" subtracts the
        class of the image's lowest logit, as the authors' program does.
      logits: `[B, M]`, for `rival="image"`; by default those of the features and the
        kernel, without the head's bias.

    Returns:
      As there.

    Raises:
      ValueError: as there, or an unknown rival.
      TypeError: as there.
    """
    features, head_kernel, labels = _check(features, head_kernel, labels)
    if rival not in RIVALS:
        raise ValueError(f"rival must be one of {RIVALS}, not {rival!r}")
    # One vector for all classes changes no difference; less it, fewer digits cancel.
    if rival == "image":
        mean = head_kernel.mean(-1)
        if logits is None:
            centered = head_kernel - mean[:, None]
            logits = _einsum("bk,km->bm", features.mean((1, 2)), centered)
        logits = information.as_float(logits)
        shape = (len(features), head_kernel.shape[-1])
        information.check_shape("logits", logits, shape)
        lowest = jnp.argmin(logits, -1).reshape(-1, *(1,) * (labels.ndim - 1))
        weights = _rows(head_kernel, labels) - _rows(head_kernel, lowest)
        return _sum_regions(_project(features, weights), region, padding)
    return _against_least(features, head_kernel, labels, region, padding)


def _against_least(
    features: Array, head_kernel: Array, labels: Array, region: int, padding: str
) -> Array:
    """What each region adds to the label less what it adds to the least of all."""
    batch, height, width, _ = features.shape
    classes = head_kernel.shape[-1]
    indices = information.label_indices(labels, classes)
    indices = indices if labels.ndim == 2 else indices[:, None]
    # Some classes at a time: their maps fit in a cache, all of them not in memory.
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

    shape = jax.eval_shape(
        lambda x: _sum_regions(x, region, padding, axes=(1, 2)), features
    ).shape[:-1]
    dtype = jnp.result_type(features, head_kernel)
    found = (
        jnp.full((*shape, indices.shape[1]), jnp.nan, dtype),
        jnp.full(shape, jnp.inf, dtype),
    )
    own, least = jax.lax.fori_loop(0, -(-classes // count), add, found)
    difference = jnp.moveaxis(own - least[..., None], -1, 1)
    return difference if labels.ndim == 2 else difference[:, 0]


@dataclasses.dataclass(frozen=True)
class Map:
    """A map that evaluations show.

    Attributes:
      function: `(features, head_kernel, labels, **options)` to maps, as `info_cam`.
      title: its name in tables and pictures.
      fixed: options that no setting changes.
    """

    function: Callable[..., Array]
    title: str
    fixed: Mapping[str, Any] = dataclasses.field(default_factory=dict)

    def options(self, settings: Mapping[str, Any]) -> dict[str, Any]:
        """Returns those of the settings that the function takes, as it gets them."""
        names = list(inspect.signature(self.function).parameters)[3:]
        return {n: settings[n] for n in names if n in settings} | dict(self.fixed)


# The maps that evaluations show, in their order. The paper's CAM has no regions.
MAPS: dict[str, Map] = {
    "cam": Map(class_activation_map, "CAM", fixed={"region": 1}),
    "info_cam": Map(info_cam, "infoCAM"),
    "info_cam_plus": Map(info_cam_plus, "infoCAM+"),
}


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
    """Returns the labels' weights, `[B, K]` or `[B, G, K]`."""
    indices = information.label_indices(labels, head_kernel.shape[-1])
    return head_kernel.T.at[indices].get(mode="fill", fill_value=jnp.nan)


def _project(features: Array, weights: Array) -> Array:
    return _einsum("bhwk,b...k->b...hw", features, weights)


def _sum_regions(
    maps: Array, region: int, padding: str, axes: tuple[int, int] = (-2, -1)
) -> Array:
    """Sums over every square of `region` cells on a side of the axes h and w."""
    if region < 1:
        raise ValueError(f"region must be at least 1, not {region}")
    if padding not in PADDINGS:
        raise ValueError(f"padding must be one of {PADDINGS}, not {padding!r}")
    before, after = (
        (region - 1,) * 2 if padding == "full" else ((region - 1) // 2, region // 2)
    )
    for axis in axes:  # a square is a column of rows
        size = maps.shape[axis] + before + after - region + 1
        pad = [(0, 0)] * maps.ndim
        pad[axis] = (before, after)
        padded = jnp.pad(maps, pad)
        maps = sum(
            jax.lax.slice_in_dim(padded, i, i + size, axis=axis % maps.ndim)
            for i in range(region)
        )
    return maps
