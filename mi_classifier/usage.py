"""What `--help` prints: the flags of a command, and the fields of a config."""

import inspect
import sys
import textwrap
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import docstring_parser
from absl import flags
from ml_collections import ConfigDict

from mi_classifier.config import flatten

_ASKING = ("-h", "--help", "-help", "--helpshort", "--helpfull")
_WIDTH = 88
_INDENT = 24  # where meanings begin


def wanted(arguments: Iterable[str]) -> bool:
    """Return whether arguments ask for help."""
    return any(word in _ASKING for word in arguments)


def of_command(main: Callable[..., None]) -> str:
    """Return what a command does, from its module, and its flags."""
    lines = [inspect.getdoc(sys.modules[main.__module__]) or "", "", "flags:"]
    for module, own in flags.FLAGS.flags_by_module_dict().items():
        if module.startswith(("mi_classifier", "__main__")) or module == sys.argv[0]:
            lines += [_line(_signature(f), f.help.partition(";\n")[0]) for f in own]
    return "\n".join(lines)


def of_config(
    reference: str,
    words: str,
    config: ConfigDict,
    known_options: Mapping[str, Mapping[str, Any]],
    meanings: Mapping[str, str],
) -> str:
    """Return the fields of a config: values and meanings, and those that it may have.

    Args:
      reference: how the user named the config.
      words: what its `get_config` says of the words after a colon.
      config: the config.
      known_options: the fields that it may have, with defaults, see `commands`.
      meanings: what fields mean.
    """
    have = flatten(config)
    lines = [f"{reference}:", *textwrap.indent(words, "  ").splitlines(), ""]
    lines += ["fields, which --config.FIELD=VALUE changes:"]
    lines += [_line(f"{f} = {v!r}", meanings.get(f, "")) for f, v in have.items()]
    more = {f: v for f, v in flatten(known_options).items() if f.strip(".") not in have}
    if more:
        lines += ["", "fields that may be added, with their defaults:"]
    for field, default in more.items():
        field = field.strip(".")
        lines.append(_line(f"{field} = {default!r}", meanings.get(field, "")))
    return "\n".join(lines)


def meanings_of(function: Callable[..., Any] | None) -> dict[str, str]:
    """Return what the docstring of a function or class says of each argument.

    Examples:
      >>> meanings_of(of_config)["config"]
      'the config.'
    """
    text = docstring_parser.parse(inspect.getdoc(function) or "")
    return {
        parameter.arg_name: " ".join((parameter.description or "").split())
        for parameter in text.params
    }


def _signature(flag: flags.Flag) -> str:
    if flag.boolean:
        return f"--[no]{flag.name}"
    default = "" if flag.default in (None, "", []) else str(flag.default)
    return f"--{flag.name}={default or 'VALUE'}"


def _line(start: str, meaning: str) -> str:
    """Return a line that starts at the left, and whose text begins at one column."""
    start, gap = f"  {start}", " " * _INDENT
    text = textwrap.fill(meaning, _WIDTH, initial_indent=gap, subsequent_indent=gap)
    if len(start) + 2 > _INDENT:
        return f"{start}\n{text}".rstrip()
    return start + text[len(start) :] if text else start
