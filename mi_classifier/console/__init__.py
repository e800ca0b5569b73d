"""The commands of a shell: flags and arguments, one call each.

`train.py` and `evaluate.py` of a clone call the same files.
"""

import importlib
import sys

from mi_classifier import __version__, cli

_COMMANDS = {
    "train": "train and evaluate what a config describes",
    "evaluate": "evaluate a trained net, or compare runs",
    "estimate": "how much a table tells about one of its columns",
    "explain": "what a net sees in photos, and where",
    "tables": "rerun a table of the paper",
}


def main() -> None:
    """Run the command that the first argument names, as `mi-classifier estimate`."""
    cli.open_streams()
    name = sys.argv[1] if len(sys.argv) > 1 else "--help"
    if name == "--version":
        print(__version__)
        return
    if name in ("-h", "--help"):
        lines = [f"  {command:<10}{text}" for command, text in _COMMANDS.items()]
        print(
            "mi-classifier COMMAND --help tells more; the commands:", *lines, sep="\n"
        )
        return
    if name not in _COMMANDS:
        print(
            f"error: no such command: {name}; there are {', '.join(_COMMANDS)}",
            file=sys.stderr,
        )
        sys.exit(2)
    sys.argv = [f"{sys.argv[0]} {name}", *sys.argv[2:]]
    importlib.import_module(f"mi_classifier.console.{name}").run()
