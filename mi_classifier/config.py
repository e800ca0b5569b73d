"""Configs: loading, checking and comparing them, and their JSON form.

A config is an `ml_collections.ConfigDict` that the `get_config` of a file in `configs/`
makes. It holds data and nothing else.
"""

import inspect
import json
import os
import runpy
import sys
import types
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from ml_collections import ConfigDict

from mi_classifier.errors import UserError, check_number, check_whole, choose, nearest

# Fields that the version before called by another name, or had and no longer has.
RENAMED = {"feed": "pipeline"}
_REMOVED = ("paper",)


def load(reference: str) -> ConfigDict:
    """Load a config, see `load_with_words`."""
    return load_with_words(reference)[0]


def load_with_words(reference: str) -> tuple[ConfigDict, str]:
    """Load a config file, which executes it once.

    Args:
      reference: "configs/X.py", or "configs/X.py:a,b" to pass "a,b" to `get_config`; or
        "X" or "X:a,b" for a file that is installed with the package.

    Returns:
      The config, and what `get_config` says of its words.

    Raises:
      UserError: the file does not exist, has no `get_config` or fails, or it refuses
        the argument.
    """
    path, _, argument = reference.partition(":")
    if path in _installed():
        path = str(_folder() / f"{path}.py")
    if not path:
        raise UserError("--config: give a file in configs/")
    if not Path(path).is_file():
        neighbors = list(map(str, _config_files(Path(path).parent))) or _installed()
        known = f"; there are {', '.join(neighbors)}" if neighbors else ""
        hint = nearest(path, neighbors) or nearest(Path(path).stem, neighbors)
        raise UserError(f"--config: no such file: {path}{hint}{known}")
    try:
        get_config = _execute(Path(path)).get("get_config")
        if get_config is None:
            raise UserError(f"--config: {path} defines no get_config()")
        config = get_config(argument) if argument else get_config()
    except UserError:
        raise
    except Exception as error:
        what = " ".join(f"{type(error).__name__}: {error}".split())
        raise UserError(f"--config: {path} cannot be loaded: {what}") from error
    if not isinstance(config, ConfigDict):
        raise UserError(f"--config: get_config() of {path} must return a ConfigDict")
    return upgrade(config), inspect.getdoc(get_config) or ""


def get_config(reference: str) -> ConfigDict:
    """Return the config of an experiment of the paper, from an installed package too.

    Args:
      reference: the name of a file in configs/, and words for it: "cub_vgg:adl".

    Raises:
      UserError: there is no such config, or it refuses the words.

    Examples:
      >>> get_config("gmm:unbalanced").loss
      'pc_softmax'
    """
    name = reference.partition(":")[0] if isinstance(reference, str) else reference
    choose(name, _installed(), "config")
    return load(reference)


def _folder() -> Path:
    """Return the folder of configs that are installed, or those of a clone."""
    here = Path(__file__).parent
    installed, clone = here / "configs", here.parent / "configs"
    return installed if installed.is_dir() else clone


def _installed() -> list[str]:
    return [path.stem for path in _config_files(_folder())]


def _config_files(folder: Path) -> list[Path]:
    """Return the files that define a config, not those that configs only share."""
    files = sorted(folder.glob("*.py"))
    return [f for f in files if b"def get_config(" in f.read_bytes()]


def _execute(path: Path) -> dict[str, Any]:
    """Execute a file that may import its neighbors, `from . import common`."""
    folder = path.absolute().parent
    package = f"configs_{bytes(folder).hex()}"
    if package not in sys.modules:
        sys.modules[package] = types.ModuleType(package)
        sys.modules[package].__path__ = [str(folder)]
    return runpy.run_path(str(path), run_name=f"{package}.{path.stem}")


_COUNTS = ("num_epochs", "microbatches", "steps_per_call", "evaluation_batch_size")
# The fields that a classifier's config must have. What is inside of a group is checked
# by the function that takes it.
FIELDS: dict[str, type] = {
    "seed": int,
    **dict.fromkeys(("data", "model", "optimizer"), ConfigDict),
    **dict.fromkeys(("loss", "best_by"), str),
    **dict.fromkeys(("batch_size", *_COUNTS), int),
    "checkpoint_seconds": float,
}
# Those that it may have, and their defaults.
OPTIONAL_FIELDS: dict[str, Any] = {
    "pretrained": "",
    "pipeline": "auto",
    "evaluators": (),  # the default ones
    "loss_options": ConfigDict(),
    "cache_features": False,  # train the head alone, on features that are kept
}
# What the fields mean that no function takes.
MEANINGS = {
    "seed": "decides the initial net, the order of examples, and augmentation.",
    "best_by": "what the best checkpoint has most of on validation: accuracy or "
    "mutual_information.",
    "batch_size": "examples in a step, on all devices together.",
    "microbatches": "parts of a batch whose gradients are added in order; with 2, one "
    "device and two give equal bits.",
    "num_epochs": "how often training sees each example.",
    "steps_per_call": "training steps that are compiled into one call; 16 at least "
    "where an accelerator holds the data.",
    "evaluation_batch_size": "examples in an evaluation step.",
    "checkpoint_seconds": "at least so many seconds lie between two checkpoints; "
    "inside of an epoch, one second.",
    "pretrained": "weights to begin with: imagenet, a file, or such as "
    "timm/resnet50.tv_in1k; empty for none.",
    "pipeline": "device keeps the data on the device, stream reads them in batches, "
    "auto decides by memory.",
    "evaluators": "the parts of an evaluation, in order.",
    "cache_features": "whether to train the head alone, on features that are computed "
    "once.",
    "loss_options.label_smoothing": "share of the labels that are drawn again from the "
    "prior.",
    "localization.region": "R of infoCAM: a score sums R x R cells of the map.",
    "localization.padding": "full scores regions that leave the map; same does not.",
    "localization.rival": "of infoCAM+: the class to beat in each region, or in the "
    "image.",
    "localization.threshold": "what a box holds: the cells above this share of the "
    "map's maximum.",
}
# The fields that a config of images with boxes has in its "localization".
_LOCALIZATION = {"region": int, "padding": str, "rival": str, "threshold": float}
# The least value of fields that have one.
_AT_LEAST = dict.fromkeys((*_COUNTS, "localization.region"), 1)
_AT_LEAST["checkpoint_seconds"] = 0
# Training does not depend on these: they may change between it and an evaluation.
_EVALUATION = ("evaluation_batch_size", "evaluators", "localization", "pipeline")
_NOT_OF_NET = (
    *(*_EVALUATION, "data", "pretrained", "num_epochs", "cache_features"),
    *("checkpoint_seconds", "steps_per_call"),
)


def check(config: ConfigDict) -> None:
    """Check that a classifier's config has its fields, with types and ranges."""
    if not isinstance(config, ConfigDict):
        raise UserError(
            f"config: must be a ConfigDict, as get_config('image_folder') returns, not "
            f"{type(config).__name__}"
        )
    check_types(config, FIELDS)
    check_types(config, {f: type(d) for f, d in OPTIONAL_FIELDS.items() if f in config})
    known = [*FIELDS, *OPTIONAL_FIELDS, "localization", "method"]
    for field in config:
        if field not in known:
            raise UserError(f"{field}: no such field{nearest(field, known)}")
    check_seed(config.seed)
    for field in ("data", "model", "optimizer"):
        if "name" not in config[field]:
            raise UserError(f"{field}.name: missing")
    boxes = config.get("localization")
    if boxes is not None:
        check_types(boxes, _LOCALIZATION, "localization.")
        check_localization(boxes)
    values = flatten(config)
    for field, least in _AT_LEAST.items():
        if field in values and not values[field] >= least:  # so that NaN is refused
            raise UserError(f"{field}: must be at least {least}, not {values[field]}")


def check_localization(options: Mapping[str, Any]) -> None:
    """Check those of the options of maps and boxes that are given."""
    choices = {"padding": ("full", "same"), "rival": ("region", "image")}
    for name, words in choices.items():
        if name in options:
            choose(options[name], words, f"localization.{name}")
    if "region" in options:
        check_whole(options["region"], "localization.region", least=1)
    if "threshold" in options:
        check_threshold(options["threshold"], "localization.threshold")


def check_threshold(value: object, what: str) -> None:
    """Check a share of a map's maximum."""
    check_number(value, what)
    if not 0 <= value < 1:
        raise UserError(f"{what}: must be in [0, 1), not {value}")


def check_seed(seed: int) -> None:
    """Check that a seed is in [0, 2**32)."""
    if not 0 <= seed < 2**32:
        raise UserError(f"seed: must be in [0, 2**32), not {seed}")


def check_types(
    config: ConfigDict, fields: Mapping[str, type], prefix: str = ""
) -> None:
    """Check that a config, or the group at `prefix`, has fields of these types."""
    for field, wanted in fields.items():
        if field not in config:
            raise UserError(f"{prefix}{field}: the config lacks this field")
        if type(config[field]) is not wanted:
            kind = "a group of fields" if wanted is ConfigDict else wanted.__name__
            raise UserError(f"{prefix}{field}: must be {kind}, not {config[field]!r}")


def parse_arguments(argument: str, **groups: Sequence[str]) -> dict[str, str | None]:
    """Read the comma-separated words after "configs/X.py:".

    Args:
      argument: the words, in any order.
      **groups: for each name the words among which at most one may be given.

    Returns:
      The word given for each name, or None.

    Raises:
      UserError: an unknown word, or two of one group.
    """
    chosen: dict[str, str | None] = dict.fromkeys(groups)
    known = {word: name for name, words in groups.items() for word in words}
    for word in filter(None, (word.strip() for word in argument.split(","))):
        name = known[choose(word, known, "config argument")]
        if chosen[name] not in (None, word):
            raise UserError(
                f"config argument: both {chosen[name]!r} and {word!r} given"
            )
        chosen[name] = word
    return chosen


def flatten(config: Any, prefix: str = "") -> dict[str, Any]:
    """Return the dotted fields of a nested config: {"data.dim": 10, ...}."""
    if not isinstance(config, (dict, ConfigDict)):
        return {prefix: config}
    flat: dict[str, Any] = {}
    for key in config:
        flat |= flatten(config[key], f"{prefix}.{key}" if prefix else key)
    return flat


def upgrade(config: ConfigDict) -> ConfigDict:
    """Return a config that the version before wrote, by today's names."""
    if not {*RENAMED, *_REMOVED} & {*config}:
        return config
    kept = {f: value for f, value in config.items() if f not in _REMOVED}
    return ConfigDict({RENAMED.get(f, f): value for f, value in kept.items()})


def with_absolute_paths(config: ConfigDict) -> ConfigDict:
    """Return a copy whose paths mean the same from any folder."""
    config = config.copy_and_resolve_references()
    absolute = {
        # `Path.expanduser` refuses the name of no user.
        field: str(Path(os.path.expanduser(path)).absolute())
        for field, path in flatten(config).items()
        if path and isinstance(path, str) and field.endswith(("_dir", ".path", "_path"))
    }
    with config.unlocked():
        config.update_from_flattened_dict(absolute)
    return config.lock()


def differences(
    ours: ConfigDict, theirs: ConfigDict, matters: Callable[[str], bool] | None = None
) -> list[str]:
    """Name the fields (that matter) in which two configs differ, with both values."""
    flat = flatten(theirs), flatten(ours)
    pairs = {
        field: [repr(f[field]) if field in f else "missing" for f in flat]
        for field in sorted(filter(matters, flat[0].keys() | flat[1].keys()))
    }
    return [f"{f} is {x} there and {y} here" for f, (x, y) in pairs.items() if x != y]


def training_differences(ours: ConfigDict, theirs: ConfigDict) -> list[str]:
    """Return `differences` in the fields that training depends on."""
    return differences(ours, theirs, lambda f: f.partition(".")[0] not in _EVALUATION)


def of_net(config: ConfigDict) -> dict[str, str]:
    """Return the fields that decide about a net besides its data, as JSON by name.

    A run may go on for more epochs, and its data and files may be moved.
    """
    return {
        field: json.dumps(value)
        for field, value in flatten(config).items()
        if field.partition(".")[0] not in _NOT_OF_NET
    }


def to_json(config: ConfigDict) -> str:
    """Return the config as indented JSON; `from_json` undoes it."""
    return json.dumps(config.to_dict(), indent=2, sort_keys=True) + "\n"


def from_json(text: str) -> ConfigDict:
    """Read a config written by `to_json`; lists become the tuples they were."""
    values = json.loads(text)
    if not isinstance(values, dict):
        raise TypeError("not a JSON object")
    return ConfigDict(_tuples(values))


def _tuples(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _tuples(item) for key, item in value.items()}
    return tuple(map(_tuples, value)) if isinstance(value, list) else value
