"""Configs: loading them from a file, comparing them, and their JSON form.

A config is an `ml_collections.ConfigDict` made by the `get_config` of a file in
`configs/`: data, and nothing else.
"""

import json
import runpy
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ml_collections import ConfigDict

from mi_classifier.errors import UserError, choose, nearest


def load(reference: str) -> ConfigDict:
    """Loads a config file.

    Args:
      reference: "configs/X.py", or "configs/X.py:a,b" to pass "a,b" to `get_config`.

    Raises:
      UserError: the file does not exist or has no `get_config`, or refuses the
        argument.
    """
    path, _, argument = reference.partition(":")
    if not Path(path).is_file():
        neighbors = [str(p) for p in sorted(Path(path).parent.glob("*.py"))]
        known = f"; there are {', '.join(neighbors)}" if neighbors else ""
        raise UserError(
            f"--config: no such file: {path}{nearest(path, neighbors)}{known}"
        )
    get_config = runpy.run_path(path).get("get_config")
    if get_config is None:
        raise UserError(f"--config: {path} defines no get_config()")
    return get_config(argument) if argument else get_config()


def parse_arguments(argument: str, **groups: Sequence[str]) -> dict[str, str | None]:
    """Reads the comma-separated words after "configs/X.py:".

    Args:
      argument: the words, in any order.
      **groups: for each name the words among which at most one may be given.

    Returns:
      The word given for each name, or None.

    Raises:
      UserError: an unknown word, or two of one group.
    """
    chosen: dict[str, str | None] = dict.fromkeys(groups)
    for word in filter(None, (word.strip() for word in argument.split(","))):
        choose(word, sum(map(list, groups.values()), []), "config argument")
        name = next(name for name, words in groups.items() if word in words)
        if chosen[name] not in (None, word):
            raise UserError(
                f"config argument: both {chosen[name]!r} and {word!r} given"
            )
        chosen[name] = word
    return chosen


def flatten(config: Any, prefix: str = "") -> dict[str, Any]:
    """Returns {"data.dim": 10, ...}, the dotted fields of a nested config."""
    if not isinstance(config, (dict, ConfigDict)):
        return {prefix: config}
    flat: dict[str, Any] = {}
    for key in config:
        flat |= flatten(config[key], f"{prefix}.{key}" if prefix else key)
    return flat


def differences(ours: ConfigDict, theirs: ConfigDict) -> list[str]:
    """Names the fields in which two configs differ, with both values."""
    a, b = flatten(ours), flatten(theirs)
    missing = object()
    shown = lambda x: "nothing" if x is missing else repr(x)  # noqa: E731
    return [
        f"{field} is {shown(b.get(field, missing))} there and "
        f"{shown(a.get(field, missing))} here"
        for field in sorted(a.keys() | b.keys())
        if a.get(field, missing) != b.get(field, missing)
    ]


def to_json(config: ConfigDict) -> str:
    """Returns the config as indented JSON; `from_json` undoes it."""
    return json.dumps(config.to_dict(), indent=2, sort_keys=True) + "\n"


def from_json(text: str) -> ConfigDict:
    """Reads a config written by `to_json`; lists become the tuples they were.

    Raises:
      ValueError: not the JSON of an object.
    """
    values = json.loads(text)
    if not isinstance(values, dict):
        raise ValueError("not a JSON object")
    return ConfigDict(_tuples(values))


def _tuples(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _tuples(item) for key, item in value.items()}
    return tuple(map(_tuples, value)) if isinstance(value, list) else value
