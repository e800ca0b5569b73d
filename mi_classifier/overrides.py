"""Changes of a config by command-line arguments: `--config.FIELD=VALUE`."""

import copy
import difflib
import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from absl import flags
from ml_collections import ConfigDict, config_dict, config_flags

from mi_classifier.config import RENAMED, flatten
from mi_classifier.errors import UserError, nearest

# Given a config, returns what each of its groups may hold, with the defaults:
# {"model": {"width": 64}}. The group "" is the top of the config.
KnownOptions = Callable[[ConfigDict], Mapping[str, Mapping[str, Any]]]
_NAMED = {"data", "model", "optimizer"}  # groups whose "name" decides their options
FIELD = re.compile(r"--?(?:no)?config\.([^=]+)(?:=(.*))?$", re.DOTALL)


def override(
    config: ConfigDict, arguments: Sequence[str], known_options: KnownOptions
) -> tuple[ConfigDict, list[str]]:
    """Apply `--config.FIELD=VALUE` arguments to a config.

    Args:
      config: stays unchanged.
      arguments: of a command line; those that do not change the config are passed over.
      known_options: tells the fields that may be set although the config lacks them.

    Returns:
      The changed config, and the other arguments.

    Raises:
      UserError: a field is unknown, or a value has the wrong type.
    """
    for old, new in RENAMED.items():
        pattern = rf"(--?(?:no)?config\.){old}(?==|$)"
        arguments = [re.sub(f"^{pattern}", rf"\1{new}", each) for each in arguments]
    texts = _texts(arguments)
    config = copy.deepcopy(config)  # a reference between two fields stays one
    with config.unlocked():
        # Names, such as that of the model, decide which options there are.
        known = flatten(config)
        names = {f: t for f, t in texts.items() if t and isinstance(known.get(f), str)}
        renamed = {f"{group}.name" for group in _NAMED} & names.keys()
        before = known_options(config) if renamed else {}
        config.update_from_flattened_dict(names)
        _drop_options_of_old_names(config, before, known_options)
        for field in texts:
            _add(config, field, known_options)
    values = flags.FlagValues()
    command = ["", *arguments]
    try:
        config_flags.DEFINE_config_dict(
            "config", config, flag_values=values, sys_argv=command
        )
        rest = values(command, known_only=True)
    except (flags.Error, TypeError, ValueError) as error:
        message = " ".join(str(error).split())
        if match := re.match(r"flag --config\.([^=]+)=", message):
            kind = type(flatten(config)[match[1]]).__name__
            message = f"--config.{match[1]}: must be {kind}, not {texts[match[1]]!r}"
        raise UserError(message) from error
    return values.config, rest[1:]


def _drop_options_of_old_names(
    config: ConfigDict,
    before: Mapping[str, Mapping[str, Any]],
    known_options: KnownOptions,
) -> None:
    """Drop the options that only the model, data or optimizer of an old name knows."""
    after = known_options(config) if before else {}
    for group in before.keys() & _NAMED:
        for option in before[group].keys() - after[group].keys():
            if option in config[group]:
                del config[group][option]


def _texts(arguments: Sequence[str]) -> dict[str, str | None]:
    """Return the text given for each field; it may be an argument of its own."""
    following = [*arguments[1:], None]
    return {
        match[1]: after if match[2] is None else match[2]
        for argument, after in zip(arguments, following, strict=False)
        if (match := FIELD.match(argument))
    }


def _add(config: ConfigDict, field: str, known_options: KnownOptions) -> None:
    """Add a field that a config may have but lacks, with its default."""
    known = flatten(config)
    if field in known:
        return
    if inside := [name for name in known if name.startswith(f"{field}.")]:
        raise UserError(f"--config.{field}: a group of fields; set {', '.join(inside)}")
    allowed = flatten(known_options(config))
    if field not in allowed:
        hint = _nearest_field(field, list(known | allowed))
        raise UserError(f"--config.{field}: no such field{hint}")
    default = allowed[field]
    if default is None:  # of no known type: takes a value of any
        default = config_dict.placeholder(object)
    group = field.rpartition(".")[0]
    if group and group not in config:  # as "loss_options", which few configs have
        config[group] = ConfigDict()
    config.update_from_flattened_dict({field: default})


def _nearest_field(field: str, known: Sequence[str]) -> str:
    """Suggest a field: of the same group, of the same last name, or like it."""
    group, _, leaf = field.rpartition(".")
    siblings = [name for name in known if group and name.startswith(f"{group}.")]
    leaves = {name.rpartition(".")[2]: name for name in siblings or known}
    if match := difflib.get_close_matches(leaf, leaves, n=1, cutoff=0.7):
        return f", did you mean {leaves[match[0]]!r}?"
    like_it = "" if siblings else nearest(field, known)
    return like_it or f"; there are {', '.join(siblings or known)}"
