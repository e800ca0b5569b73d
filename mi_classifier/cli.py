"""What the entry points share: flags in, one line and exit status 2 for a mistake."""

import re
import sys
from collections.abc import Callable
from pathlib import Path

from absl import app, flags, logging
from ml_collections import config_flags

from mi_classifier import config as configs
from mi_classifier.errors import UserError, nearest


def define_config() -> flags.FlagHolder:
    """Defines `--config`, a file in configs/, and `--config.FIELD` to override it."""
    return config_flags.DEFINE_config_file(
        "config",
        None,
        "A file in configs/, as in configs/mnist.py:unbalanced,pc_softmax.",
    )


def default_workdir() -> str:
    """Returns runs/X for --config=configs/X.py."""
    reference = flags.FLAGS["config"].config_filename
    return str(Path("runs") / Path(reference.partition(":")[0]).stem)


def run(main: Callable[[], None]) -> None:
    """Parses the flags and calls `main`; a `UserError` becomes one line, status 2."""
    logging.set_verbosity(logging.ERROR)  # the libraries' chatter; we print ourselves
    app.run(lambda argv: _guard(_main, main, argv), flags_parser=_parse)


def _main(main: Callable[[], None], argv: list[str]) -> None:
    if len(argv) > 1:
        raise UserError(f"unexpected argument {argv[1]!r}; flags are --NAME=VALUE")
    main()


def _parse(argv: list[str]) -> list[str]:
    return _guard(_parse_flags, argv)


def _guard(function: Callable, *args: object) -> object:
    try:
        return function(*args)
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(2)
    except KeyboardInterrupt:
        print("interrupted; the same command goes on from here", file=sys.stderr)
        sys.exit(130)


def _parse_flags(argv: list[str]) -> list[str]:
    if "config" in flags.FLAGS:
        _check_config(argv[1:])
    try:
        return flags.FLAGS(argv)
    except flags.Error as error:
        raise UserError(" ".join(str(error).split())) from error


def _check_config(arguments: list[str]) -> None:
    """Finds a missing file or an unknown field before ml_collections does."""
    files, fields = [], []
    for argument, following in zip(arguments, [*arguments[1:], ""], strict=True):
        match = re.match(r"--?(?:no)?config(?:\.([^=]+))?(?:=(.*))?$", argument)
        if match and match[1]:
            fields.append(match[1])
        elif match:
            files.append(following if match[2] is None else match[2])
    if not files:
        if fields:
            raise UserError(f"--config.{fields[0]}: give the file too, --config=FILE")
        return
    known = configs.flatten(configs.load(files[-1]))
    for field in fields:
        if field not in known and not any(
            name.startswith(f"{field}.") for name in known
        ):
            hint = nearest(field, known) or f"; it has {', '.join(known)}"
            raise UserError(f"--config.{field}: {files[-1]} has no such field{hint}")
