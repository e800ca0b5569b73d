"""What the entry points share: flags in, one line and exit status 2 for a mistake."""

import difflib
import os
import re
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import platformdirs
from absl import app, flags, logging
from ml_collections import config_flags

from mi_classifier import config as configs
from mi_classifier import termination
from mi_classifier.errors import DISK_ERRORS, UserError, nearest

LOST = 3  # exit status where another process of the run is gone
# By signals, exit status 128 and their number: of Ctrl-C 130, of SIGTERM 143.
_ENDED_BY = {"SIGINT": "interrupted", "SIGTERM": "terminated", "SIGHUP": "hung up"}
_GOES_ON = "what was saved stays, and the same command goes on"


def define_config() -> flags.FlagHolder:
    """Defines `--config`, a file in configs/, and `--config.FIELD` to override it."""
    return config_flags.DEFINE_config_file(
        "config",
        None,
        "give a file in configs/, as in "
        "--config=configs/mnist.py:unbalanced,pc_softmax; "
        "--config.FIELD=VALUE changes a field of it.",
    )


def default_workdir() -> str:
    """Returns runs/X for --config=configs/X.py."""
    reference = flags.FLAGS["config"].config_filename
    return str(Path("runs") / Path(reference.partition(":")[0]).stem)


def define_distributed() -> flags.FlagHolder:
    """Defines `--distributed`, for one of several processes that share a run."""
    return flags.DEFINE_string(
        "distributed",
        "",
        "of several processes that share a run, 'auto' under SLURM, Open MPI and the "
        "like, else HOST:PORT,PROCESSES,INDEX.",
    )


def join(cluster: flags.FlagHolder) -> None:
    """Joins the other processes, if there are any; all but the first fall silent."""
    if not cluster.value:
        return
    from mi_classifier import parallel

    parallel.join(cluster.value)
    if not parallel.is_first():
        sys.stdout = open(os.devnull, "w")  # noqa: SIM115, until the end


def run(main: Callable[..., None], positional: bool = False) -> None:
    """Parses the flags and calls `main`.

    A `UserError` becomes one line and exit status 2.

    Args:
      main: what to call.
      positional: whether it takes the arguments that are no flags, as a list.
    """
    for stream in (sys.stdout, sys.stderr):  # names of files are not always text
        stream.reconfigure(errors="replace")
    _share_compiled_programs()
    termination.install(_leave_ended)
    sys.unraisablehook = _tell_unraisable
    logging.set_verbosity(logging.FATAL)  # the libraries' chatter; we print ourselves

    def call(argv: list[str]) -> None:
        if positional:
            _guard(main, argv[1:])
        elif len(argv) > 1:
            message = f"unexpected argument {argv[1]!r}; flags are --NAME=VALUE"
            _guard(_refuse, message)
        else:
            _guard(main)

    app.run(call, flags_parser=lambda argv: _guard(_parse, argv))


def _share_compiled_programs() -> None:
    """Has JAX keep compiled programs in the user's cache folder, unless told where."""
    defaults = {
        "JAX_COMPILATION_CACHE_DIR": str(
            platformdirs.user_cache_path("mi_classifier") / "compiled"
        ),
        "JAX_COMPILATION_CACHE_MAX_SIZE": str(2**30),  # bytes
        "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0",
        "JAX_PERSISTENT_CACHE_MIN_ENTRY_SIZE_BYTES": "-1",
    }
    for name, value in defaults.items():
        os.environ.setdefault(name, value)


def _tell_unraisable(unraisable: Any) -> None:
    """Passes over what Orbax prints, at length, of a checkpoint that fails."""
    if str(unraisable.exc_value) != "Event loop is closed":
        sys.__unraisablehook__(unraisable)


def _leave_ended(signum: int) -> None:
    if "multiprocessing" in sys.modules:
        for process in sys.modules["multiprocessing"].active_children():
            process.terminate()
    _leave(f"{_ENDED_BY[signal.Signals(signum).name]}; {_GOES_ON}", 128 + signum)


def _refuse(message: str) -> None:
    raise UserError(message)


def required(flag: flags.FlagHolder) -> str:
    """Returns the value of a flag that has to be given."""
    if not flag.value:
        raise UserError(f"--{flag.name}: missing; {flags.FLAGS[flag.name].help}")
    return flag.value


def _guard(function: Callable, *args: object) -> object:
    try:
        return function(*args)
    except UserError as error:
        _leave(f"error: {error}", 2)
    except OSError as error:
        if error.errno not in DISK_ERRORS:
            raise
        where = f"{error.filename}: " if error.filename else ""
        _leave(f"error: {where}{error.strerror}", 2)
    except (RuntimeError, ValueError) as error:
        if not _is_of_several(error):
            raise
        reason = " ".join(str(error).split())[:100]
        _leave(
            "error: lost another process of this run; what was saved stays, and the "
            f"same command goes on, on as many processes as there are ({reason})",
            LOST,
        )
    except termination.Terminated as ended:
        _leave_ended(ended.signal)


def _is_of_several(error: Exception) -> bool:
    """Whether an error is JAX's, in one of several processes that need each other."""
    jax = sys.modules.get("jax")
    if jax is None:
        return False
    # What is not compiled tells of a lost connection by another exception.
    of_jax = isinstance(error, jax.errors.JaxRuntimeError) or "Gloo" in str(error)
    return of_jax and jax.process_count() > 1


def _leave(message: str, status: int) -> None:
    print(message, file=sys.stderr)
    sys.stdout.flush()
    sys.stderr.flush()
    # At once: threads of the libraries that are still busy crash or complain when the
    # interpreter is torn down around them.
    os._exit(status)


def _parse(argv: list[str]) -> list[str]:
    known = _check_config(argv[1:]) if "config" in flags.FLAGS else {}
    try:
        rest = flags.FLAGS(argv)
    except SystemExit:  # --help has printed
        sys.exit(0)
    except flags.UnrecognizedFlagError as error:
        fields = [f"config.{field}" for field in known]
        hint = _nearest_field(error.flagname, [*fields, *flags.FLAGS])
        raise UserError(f"--{error.flagname}: no such flag{hint}") from error
    except flags.Error as error:
        raise UserError(" ".join(str(error).split())) from error
    return rest


def _check_config(arguments: list[str]) -> dict[str, object]:
    """Finds a missing file or an unknown field before ml_collections does."""
    files, fields = [], []
    for argument, following in zip(arguments, [*arguments[1:], ""], strict=False):
        match = re.match(r"--?(?:no)?config(?:\.([^=]+))?(?:=(.*))?$", argument)
        if match and match[1]:
            fields.append(match[1])
        elif match:
            files.append(following if match[2] is None else match[2])
    if not files:
        if fields:
            raise UserError(f"--config.{fields[0]}: give the file too, --config=FILE")
        return {}
    known = configs.flatten(configs.load(files[-1]))
    for field in fields:
        group = [name for name in known if name.startswith(f"{field}.")]
        if group:
            raise UserError(
                f"--config.{field}: a group of fields; set {', '.join(group)}"
            )
        if field not in known:
            hint = _nearest_field(field, list(known))
            raise UserError(f"--config.{field}: {files[-1]} has no such field{hint}")
    return known


def _nearest_field(field: str, known: list[str]) -> str:
    """Suggests a field: of the same group, of the same last name, or like it."""
    group, _, leaf = field.rpartition(".")
    siblings = [name for name in known if group and name.startswith(f"{group}.")]
    leaves = {name.rpartition(".")[2]: name for name in siblings or known}
    if match := difflib.get_close_matches(leaf, leaves, n=1, cutoff=0.7):
        return f", did you mean {leaves[match[0]]!r}?"
    if siblings:
        return f"; there are {', '.join(siblings)}"
    return nearest(field, known) or f"; there are {', '.join(known)}"
