"""Pretrained backbones from PyTorch's weights: files, or Hugging Face repositories.

Our parameters have torchvision's names: ("layer1", "0", "conv1", "kernel") is
"layer1.0.conv1.weight" there, transposed.
"""

import re
import sys
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jax.numpy as jnp
import numpy as np
from flax import traverse_util
from safetensors.flax import load_file

from mi_classifier.errors import UserError, reason_of
from mi_classifier.models import MODELS

# Flax's names of a layer's parameters, and PyTorch's.
_LEAVES = {"kernel": "weight", "scale": "weight", "bias": "bias"}
_LEAVES |= {"mean": "running_mean", "var": "running_var"}
_HEADS = {"fc", "classifier", "head", "pre_logits", "AuxLogits"}  # never loaded


def load_pretrained(
    name: str, path_or_repo: str, variables: Mapping[str, Any], quiet: bool = False
) -> dict[str, Any]:
    """Replace a net's backbone by pretrained weights, and print what was replaced.

    The head and the model's `NEW_LAYERS` keep their values.

    Args:
      name: of the model, a key of `MODELS`.
      path_or_repo: a `.safetensors` file, a `.pth` or `.pt` file of torchvision's if
        PyTorch is installed (none of its code is run), or a Hugging Face repository
        such as "timm/resnet50.tv_in1k", which is downloaded once. HF_HUB_OFFLINE=1
        allows earlier downloads only.
      variables: of the model, "params" and "batch_stats".
      quiet: whether to print nothing.

    Returns:
      The variables with the backbone replaced, float32.

    Raises:
      UserError: the file cannot be found, downloaded or read; or a tensor is missing,
        belongs nowhere, has another shape or is not finite. The message names it.
    """
    tensors = _read(path_or_repo)
    new_layers = {"head", *getattr(MODELS[name], "NEW_LAYERS", ())}
    flat = traverse_util.flatten_dict(dict(variables))
    loaded, kept, unused = {}, Counter(), Counter()
    for path, value in flat.items():
        if path[1] in new_layers:
            kept[path[1]] += 1
            continue
        theirs = ".".join([*path[1:-1], _LEAVES[path[-1]]])
        if theirs not in tensors:
            raise UserError(f"{path_or_repo}: lacks {theirs}, which {name} has")
        tensor = tensors.pop(theirs)
        loaded[path] = _fit(tensor, value.shape, f"{path_or_repo}: {theirs}")
    for theirs in tensors:
        layer = theirs.split(".")[0]
        if layer not in new_layers | _HEADS:
            raise UserError(f"{path_or_repo}: {theirs} has no place in {name}")
        unused[layer] += 1
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
    return {name: placed.get(name, {}) for name in variables}


def _fit(tensor: np.ndarray, shape: tuple[int, ...], where: str) -> jnp.ndarray:
    """Transpose a tensor of PyTorch's to Flax's layout, `[kh, kw, C, features]`."""
    order = {4: (3, 2, 0, 1), 2: (1, 0)}.get(len(shape), range(len(shape)))
    theirs = tuple(shape[axis] for axis in order)
    if tensor.shape != theirs:
        raise UserError(f"{where} has shape {tensor.shape}, not {theirs}")
    tensor = np.asarray(tensor, np.float32).transpose(np.argsort(order))
    if not np.isfinite(tensor).all():
        raise UserError(f"{where} holds values that are not finite")
    return jnp.asarray(tensor)


def _read(path_or_repo: str) -> dict[str, np.ndarray]:
    """Return the tensors of a file or repository, without counters of batches."""
    path = Path(path_or_repo).expanduser()
    if not path.is_file():
        is_name = path.suffix in (".safetensors", ".pth", ".pt")
        if is_name or not re.fullmatch(r"[\w.-]+/[\w.-]+", path_or_repo):
            raise UserError(
                f"pretrained: no such file: {path_or_repo}; give a file that exists, "
                'or a Hugging Face repository such as "timm/resnet50.tv_in1k"'
            )
        path = _download(path_or_repo)
    try:
        if path.suffix == ".safetensors":
            tensors = load_file(path)
        else:
            import torch

            tensors = torch.load(path, map_location="cpu", weights_only=True)
            tensors = tensors.get("state_dict", tensors)
            tensors = {name: tensor.float().numpy() for name, tensor in tensors.items()}
    except ImportError as error:
        raise UserError(
            f"{path}: reading it needs PyTorch; pip install torch, or give a "
            ".safetensors file"
        ) from error
    except Exception as error:  # every kind that the readers raise means damage
        reason = f"{type(error).__name__}: {reason_of(error)}"[:200]
        raise UserError(
            f"{path}: cannot be read as weights ({reason}); download it again"
        ) from error
    return {
        name.removeprefix("module."): np.asarray(tensor)  # DataParallel's prefix
        for name, tensor in tensors.items()
        if not name.endswith("num_batches_tracked")
    }


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
