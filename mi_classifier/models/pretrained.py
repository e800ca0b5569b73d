"""Pretrained weights of PyTorch's: files, packages, Hugging Face repositories.

Our parameters have PyTorch's names: ("layer1", "0", "conv1", "kernel") is
"layer1.0.conv1.weight" there, transposed.
"""

from collections import Counter
from collections.abc import Iterable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import traverse_util

from mi_classifier.errors import UserError
from mi_classifier.models import MODELS, create_model, state_dicts, weight_files
from mi_classifier.models.state_dicts import Weights
from mi_classifier.models.torch_files import Tensor
from mi_classifier.progress import say

# Flax's names of a layer's parameters, and PyTorch's.
_LEAVES = {"kernel": "weight", "scale": "weight", "bias": "bias"}
_LEAVES |= {"mean": "running_mean", "var": "running_var"}
_HEADS = {"fc", "_fc", "classifier", "head", "pre_logits", "AuxLogits"}  # never loaded


def load_pretrained(
    name: str, path_or_repo: str, variables: Mapping[str, Any], quiet: bool = False
) -> dict[str, Any]:
    """Replace a net's backbone by pretrained weights, and print what was replaced.

    The head and the model's `NEW_LAYERS` keep their values.

    Args:
      name: of the model, a key of `MODELS`.
      path_or_repo: a `.safetensors` file; a `.pth` or `.pt` file of PyTorch's, which
        need not be installed, and none of whose code is run; a name in the model's
        `INSTALLED`, such as "imagenet"; or a Hugging Face repository such as
        "timm/resnet50.tv_in1k", which is downloaded once. HF_HUB_OFFLINE=1 allows
        earlier downloads only.
      variables: of the model, "params" and "batch_stats".
      quiet: whether to print nothing.

    Returns:
      The variables with the backbone replaced, float32.

    Raises:
      UserError: the file cannot be found, downloaded or read; or a tensor is missing,
        belongs nowhere, has another shape, or holds integers or values that are not
        finite. The message names it.
    """
    new_layers = {"head", *getattr(MODELS[name], "NEW_LAYERS", ())}
    flat = traverse_util.flatten_dict(dict(variables))
    kept = Counter(path[1] for path in flat if path[1] in new_layers)
    places = {path: x.shape for path, x in flat.items() if path[1] not in new_layers}
    found = _find(name, path_or_repo, places)
    loaded = _place(name, path_or_repo, found.tensors, places)
    unused = Counter(theirs.split(".")[0] for theirs in found.tensors) + found.others
    if not quiet:
        count = sum(value.size for value in loaded.values())
        under = f", under {found.place}" if found.place else ""
        lines = (
            f"{name}: weights of {path_or_repo}{under}",
            f"loaded: {len(loaded)} tensors, {count:,} numbers of the backbone",
            *(f"{part}: {n} new tensors, not loaded" for part, n in kept.items()),
            *(f"{part}: not used, {n} tensors" for part, n in sorted(unused.items())),
        )
        say("\n  ".join(lines))
    placed = traverse_util.unflatten_dict(flat | loaded)
    return {group: placed.get(group, {}) for group in variables}


def load_whole(name: str, source: str) -> dict[str, Any]:
    """Load a net's backbone and head; the file decides the number of classes.

    Args:
      name: of the model, a key of `MODELS`.
      source: as `path_or_repo` of `load_pretrained`.

    Returns:
      The variables, "params" and "batch_stats", float32.

    Raises:
      UserError: as in `load_pretrained`, or the file has no head.
    """
    image = jax.ShapeDtypeStruct((1, 224, 224, 3), jnp.float32)
    shapes = jax.eval_shape(create_model(name, 1).init, jax.random.key(0), image)
    flat = traverse_util.flatten_dict(dict(shapes))
    places = {path: x.shape for path, x in flat.items()}
    tensors = _find(name, source, [p for p in places if p[1] != "head"]).tensors
    weight = f"{_head_of(name)}.weight"
    if weight not in tensors:
        raise UserError(f"{source}: lacks {weight}, the last layer of {name}")
    for path, shape in places.items():
        if path[1] == "head":
            places[path] = (*shape[:-1], tensors[weight].shape[0])
    return traverse_util.unflatten_dict(_place(name, source, tensors, places))


def _head_of(name: str) -> str:
    """Return PyTorch's name of a model's last layer."""
    return getattr(MODELS[name], "TORCH_HEAD", "fc")


def _place(
    name: str,
    source: str,
    tensors: dict[str, Any],
    places: Mapping[tuple[str, ...], tuple[int, ...]],
) -> dict[tuple[str, ...], jnp.ndarray]:
    """Take the tensor of each place out of `tensors`.

    Heads and parts beside the net may remain there, but no tensors of its own parts.
    """
    loaded = {}
    for path, shape in places.items():
        theirs = _theirs(name, path)
        if theirs not in tensors:
            raise UserError(f"{source}: lacks {theirs}, which {name} has")
        tensor = _fit(tensors.pop(theirs), shape, f"{source}: {theirs}")
        if path[-1] == "var" and (tensor < 0).any():
            raise UserError(
                f"{source}: {theirs} is a variance, and has negative values"
            )
        loaded[path] = tensor
    parts = {_theirs(name, path).split(".")[0] for path in places}
    new = _HEADS.union(getattr(MODELS[name], "NEW_LAYERS", ()))
    for theirs in tensors:
        if theirs.split(".")[0] in parts - new:
            raise UserError(f"{source}: {theirs} has no place in {name}")
    return loaded


def _theirs(name: str, path: tuple[str, ...]) -> str:
    """Return PyTorch's name of the tensor for a place."""
    layer = _head_of(name) if path[1] == "head" else path[1]
    return ".".join([layer, *path[2:-1], _LEAVES[path[-1]]])


def _find(name: str, source: str, places: Iterable[tuple[str, ...]]) -> Weights:
    """Return the weights of a source that have a tensor for each place."""
    installed = {n: m.INSTALLED for n, m in MODELS.items() if hasattr(m, "INSTALLED")}
    content = weight_files.read(weight_files.find(name, source, installed))
    needed = [_theirs(name, path) for path in places]
    return state_dicts.find(content, needed, source, name)


def _fit(tensor: Any, shape: tuple[int, ...], where: str) -> jnp.ndarray:
    """Transpose a tensor of PyTorch's to Flax's layout, `[kh, kw, C, features]`."""
    order = {4: (3, 2, 0, 1), 2: (1, 0)}.get(len(shape), range(len(shape)))
    theirs = tuple(shape[axis] for axis in order)
    if tensor.shape != theirs:
        raise UserError(f"{where} has shape {tensor.shape}, not {theirs}")
    if isinstance(tensor, Tensor | weight_files.Stored):
        try:
            tensor = tensor.array()
        except Exception as error:
            raise weight_files.unreadable(where, error) from error
    if not jnp.issubdtype(tensor.dtype, jnp.floating) or tensor.dtype.itemsize < 2:
        is_code = tensor.dtype.itemsize == 1 and tensor.dtype != bool
        kind = "codes" if is_code else "no float numbers"
        told = ", whose scales are not known" if kind == "codes" else ""
        raise UserError(
            f"{where} holds {kind} ({tensor.dtype}){told}; give a file of float weights"
        )
    with np.errstate(over="ignore"):  # is told next
        tensor = np.asarray(tensor, np.float32).transpose(np.argsort(order))
    if not np.isfinite(tensor).all():
        raise UserError(f"{where} holds values that are not finite")
    return jnp.asarray(tensor)
