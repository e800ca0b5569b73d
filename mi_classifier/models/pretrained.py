"""Pretrained backbones from PyTorch's weights: files, or Hugging Face repositories.

Our parameters bear torchvision's names, so that a path such as
("layer1", "0", "conv1", "kernel") is "layer1.0.conv1.weight" there, transposed.
"""

import re
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jax.numpy as jnp
import numpy as np
from flax import traverse_util
from rich import box
from rich.console import Console
from rich.table import Table

from mi_classifier.errors import UserError

# Leaves of Flax, and what PyTorch calls them.
_LEAVES = {
    "kernel": "weight",
    "scale": "weight",
    "bias": "bias",
    "mean": "running_mean",
    "var": "running_var",
}
_OURS_ALONE = ("head", "conv6")  # trained anew, whatever the file holds
# What classifiers end in elsewhere, and counters: no place here, and no mistake.
_THEIRS_ALONE = re.compile(
    r"(fc|classifier|head|pre_logits|AuxLogits|conv6)\.|.*\.num_batches_tracked$"
)
_REPOSITORY = re.compile(r"[\w.-]+/[\w.-]+")


def load_pretrained(
    name: str, path_or_repo: str, variables: Mapping[str, Any], quiet: bool = False
) -> dict[str, Any]:
    """Replaces a net's backbone by pretrained weights; prints what came from where.

    The head, and VGG16-GAP's conv6, stay as they are.

    Args:
      name: of the model, for messages: "vgg16_gap", "resnet50", "inception_v3".
      path_or_repo: a `.safetensors` file, a `.pth` or `.pt` file of torchvision's where
        PyTorch is installed (no code of it is run), or a Hugging Face repository such
        as "timm/resnet50.tv_in1k", which is downloaded once; with HF_HUB_OFFLINE=1 only
        what was downloaded before is used.
      variables: of the model, "params" and "batch_stats".
      quiet: whether to print nothing.

    Returns:
      The variables with the backbone replaced, float32.

    Raises:
      UserError: a file that cannot be had or read; a tensor that is missing, has no
        place, has another shape or is not finite; it is named.
    """
    tensors = _read(path_or_repo)
    flat = traverse_util.flatten_dict(dict(variables))
    loaded, left = {}, Counter()
    used = set()
    for path, value in flat.items():
        if path[1] in _OURS_ALONE:
            left[path[1]] += 1
            continue
        theirs = ".".join([*path[1:-1], _LEAVES[path[-1]]])
        if theirs not in tensors:
            raise UserError(f"{path_or_repo}: lacks {theirs}, which {name} has")
        used.add(theirs)
        loaded[path] = _fit(tensors[theirs], value.shape, f"{path_or_repo}: {theirs}")
    unused = Counter()
    for theirs in tensors.keys() - used:
        if not _THEIRS_ALONE.match(theirs):
            raise UserError(f"{path_or_repo}: {theirs} has no place in {name}")
        if not theirs.endswith("num_batches_tracked"):
            unused[theirs.split(".")[0]] += 1
    if not quiet:
        _print(name, path_or_repo, loaded, left, unused)
    placed = traverse_util.unflatten_dict(flat | loaded)
    return {name: placed.get(name, {}) for name in variables}


def _fit(tensor: np.ndarray, shape: tuple[int, ...], where: str) -> jnp.ndarray:
    """Brings a tensor of PyTorch's into Flax's layout, `[kh, kw, C, features]`."""
    order = {4: (3, 2, 0, 1), 2: (1, 0)}.get(len(shape), range(len(shape)))
    theirs = tuple(shape[axis] for axis in order)
    if tensor.shape != theirs:
        raise UserError(f"{where} has shape {tensor.shape}, not {theirs}")
    tensor = np.asarray(tensor, np.float32).transpose(np.argsort(order))
    if not np.isfinite(tensor).all():
        raise UserError(f"{where} holds values that are not finite")
    return jnp.asarray(tensor)


def _read(path_or_repo: str) -> dict[str, np.ndarray]:
    path = Path(path_or_repo).expanduser()
    if not path.is_file():
        if path.suffix in (".safetensors", ".pth", ".pt") or not _REPOSITORY.fullmatch(
            path_or_repo
        ):
            raise UserError(f"pretrained: no such file: {path_or_repo}")
        path = _download(path_or_repo)
    try:
        tensors = (
            _read_torch(path) if path.suffix != ".safetensors" else _read_safe(path)
        )
    except UserError:
        raise
    except Exception as error:  # whatever the readers raise means a damaged file
        reason = " ".join(f"{type(error).__name__}: {error}".split())[:200]
        raise UserError(f"{path}: cannot be read as weights ({reason})") from error
    # A net that was trained on several GPUs has a prefix.
    return {name.removeprefix("module."): tensor for name, tensor in tensors.items()}


def _read_safe(path: Path) -> dict[str, np.ndarray]:
    from safetensors import safe_open

    with safe_open(path, "flax") as file:
        return {name: np.asarray(file.get_tensor(name)) for name in file.keys()}  # noqa: SIM118


def _read_torch(path: Path) -> dict[str, np.ndarray]:
    try:
        import torch
    except ImportError as error:
        raise UserError(
            f"{path}: needs PyTorch to be read; pip install torch, or give a "
            ".safetensors file"
        ) from error
    tensors = torch.load(path, map_location="cpu", weights_only=True)
    tensors = tensors.get("state_dict", tensors)
    return {name: tensor.float().numpy() for name, tensor in tensors.items()}


def _download(repository: str) -> Path:
    from huggingface_hub import hf_hub_download
    from huggingface_hub.errors import HfHubHTTPError, LocalEntryNotFoundError

    try:
        return Path(hf_hub_download(repository, "model.safetensors"))
    except (HfHubHTTPError, LocalEntryNotFoundError, OSError, ValueError) as error:
        reason = " ".join(f"{type(error).__name__}: {error}".split())[:200]
        raise UserError(
            f"pretrained: {repository} is neither a file nor a repository that can be "
            f"had from Hugging Face ({reason})"
        ) from error


def _print(
    name: str,
    source: str,
    loaded: Mapping[tuple[str, ...], jnp.ndarray],
    left: Mapping[str, int],
    unused: Mapping[str, int],
) -> None:
    table = Table(title=f"{name}: weights of {source}", box=box.SIMPLE_HEAD)
    for column in ("", "tensors", "why"):
        table.add_column(column, justify="right" if column == "tensors" else "left")
    count = sum(value.size for value in loaded.values())
    table.add_row("loaded", str(len(loaded)), f"{count:,} numbers of the backbone")
    for part, tensors in left.items():
        table.add_row(
            f"{part} left", str(tensors), "is trained from its initialization"
        )
    for part, tensors in sorted(unused.items()):
        table.add_row(f"{part} not used", str(tensors), "a head of the file's own")
    Console(stderr=True).print(table)
