"""What the entry points share: flags, one-line errors and exit statuses."""

import contextlib
import io
import os
import re
import signal
import sys
import threading
import warnings
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, NoReturn

import platformdirs
from absl import app, flags, logging
from ml_collections import ConfigDict

from mi_classifier import config as configs, overrides, termination, usage
from mi_classifier.errors import DISK_ERRORS, UserError, nearest

LOST = 3  # exit status when another process of the run is gone
# A signal ends a command with status 128 plus its number: Ctrl-C 130, SIGTERM 143.
_ENDED_BY = {"SIGINT": "interrupted", "SIGTERM": "terminated", "SIGHUP": "hung up"}
# Switches for finding bugs in programs, ours are written for the usual rules; and those
# that change results, so that a run goes on as it began.
_ORDINARY = {
    "JAX_NUMPY_DTYPE_PROMOTION": "standard",
    "JAX_NUMPY_RANK_PROMOTION": "allow",
    "JAX_TRANSFER_GUARD": "allow",
    "JAX_DISABLE_JIT": "0",
    "JAX_DEBUG_INFS": "0",
    "JAX_NO_TRACING": "0",
    "JAX_ENABLE_X64": "0",
    "JAX_DEFAULT_PRNG_IMPL": "threefry2x32",
    "JAX_THREEFRY_PARTITIONABLE": "1",
    "MPLBACKEND": "agg",  # commands draw into files
}
_PATIENCE = 2.0  # seconds to tell why a command ends
_GOES_ON = "what was saved stays, and the same command goes on"


def define_config() -> flags.FlagHolder:
    """Define `--config`; `run` loads the file and passes the config to `main`."""
    return flags.DEFINE_string(
        "config",
        None,
        "give a config's name or file, as in --config=gmm or "
        "--config=configs/mnist.py:unbalanced,pc_softmax; "
        "--config.FIELD=VALUE changes a field of it.",
    )


def default_workdir() -> str:
    """Return runs/X for --config=configs/X.py."""
    path = flags.FLAGS["config"].value.partition(":")[0]
    return str(Path("runs") / Path(path).stem)


def define_distributed() -> flags.FlagHolder:
    """Define `--distributed`, for one of several processes that share a run."""
    return flags.DEFINE_string(
        "distributed",
        "",
        "join the other processes of a run: 'auto' under SLURM, Open MPI and the "
        "like, else HOST:PORT,PROCESSES,INDEX.",
    )


def join(cluster: flags.FlagHolder) -> None:
    """Join the other processes, if there are any; only the first one prints."""
    if not cluster.value:
        return
    from mi_classifier import parallel, progress

    parallel.join(cluster.value)
    if not parallel.is_first():
        progress.quiet = True
        sys.stdout = open(os.devnull, "w")  # noqa: SIM115, stays open until the end


def required(flag: flags.FlagHolder) -> str:
    """Return the value of a flag that must be given."""
    if not flag.value:
        raise UserError(f"--{flag.name}: missing; {flags.FLAGS[flag.name].help}")
    return flag.value


def run(
    main: Callable[..., None],
    positional: bool = False,
    known_options: overrides.KnownOptions | None = None,
    meanings: Callable[[ConfigDict], Mapping[str, str]] | None = None,
) -> None:
    """Parse the flags and call `main`; a `UserError` becomes one line and status 2.

    With `known_options`, see `overrides.override`, `main` takes the config, and
    `--help` tells its fields and their `meanings`. If the command has `positional`
    arguments, `main` takes a list of them.
    """
    open_streams()
    sys.argv[1:] = map(_with_home, sys.argv[1:])
    _share_compiled_programs()
    os.environ.update(_ORDINARY)
    termination.install(_leave_ended)
    sys.unraisablehook = _print_unraisable
    logging.set_verbosity(logging.FATAL)  # the libraries' messages; we print our own
    config: tuple[ConfigDict | None, ...] = ()

    @_guarded()
    def parse(argv: list[str]) -> list[str]:
        nonlocal config
        if known_options:
            loaded, argv = _load_config(argv, known_options, meanings)
            config = (loaded,)
        if usage.wanted(argv[1:]):
            _leave_helped(usage.of_command(main))
        return _parse(flags.FLAGS, argv, known_only=False)

    @_guarded()
    def call(argv: list[str]) -> None:
        if positional:
            main(*config, argv[1:])
        elif len(argv) > 1:
            raise UserError(f"unexpected argument {argv[1]!r}; flags are --NAME=VALUE")
        else:
            main(*config)
        sys.stdout.flush()  # here a full disk can still be told

    app.run(call, flags_parser=parse)


def open_streams() -> None:
    """Keep on if nobody reads the output any more, or its stream is closed."""
    for name, number in (("stdout", 1), ("stderr", 2)):
        stream = getattr(sys, name)
        if stream is None:  # closed by whoever started the command
            setattr(sys, name, open(os.devnull, "w"))  # noqa: SIM115
        elif stream is getattr(sys, f"__{name}__"):
            stream.flush()
            output = _Output(number, "w", closefd=False)
            options = {
                "encoding": stream.encoding,
                "errors": "replace",  # file names are not always valid text
                "line_buffering": stream.line_buffering or number == 2,
                "write_through": stream.write_through,  # as by `python -u`
            }
            buffer = output if stream.write_through else io.BufferedWriter(output)
            setattr(sys, name, io.TextIOWrapper(buffer, **options))


class _Output(io.FileIO):
    """Standard output or error; what nobody reads any more is dropped."""

    def write(self, content: bytes | memoryview) -> int:
        try:
            return super().write(content)
        except BrokenPipeError:
            return len(content)
        except OSError as error:
            where = "standard output" if self.fileno() == 1 else "standard error"
            raise OSError(error.errno, error.strerror, where) from error


def _with_home(argument: str) -> str:
    """Replace ~ at the start of a flag's value; shells do not, after `=`."""
    name, equals, value = argument.partition("=")
    if not (argument.startswith("--") and equals):
        name, equals, value = "", "", argument
    path = os.path.expanduser(value)
    is_path = name.endswith(("--workdir", "_dir", "path", "pretrained"))
    if is_path and path.startswith("~") and not os.path.exists(path):
        _leave(f"error: {argument}: no user's home folder is called so", 2)
    return f"{name}{equals}{path}"


def _load_config(
    argv: list[str],
    known_options: overrides.KnownOptions,
    meanings: Callable[[ConfigDict], Mapping[str, str]] | None,
) -> tuple[ConfigDict | None, list[str]]:
    """Load the file of `--config` once; return it and the other arguments."""
    values = flags.FlagValues()
    flags.DEFINE_string("config", None, "", flag_values=values)
    command, *others = _parse(values, argv, known_only=True)
    if values.config is None:
        for argument in filter(overrides.FIELD.match, others):
            field = argument.partition("=")[0]
            raise UserError(f"{field}: give the file too, --config=FILE")
        return None, [command, *others]
    config, words = configs.load_with_words(values.config)
    config, rest = overrides.override(config, others, known_options)
    if meanings and usage.wanted(rest):
        known = known_options(config)
        text = usage.of_config(values.config, words, config, known, meanings(config))
        _leave_helped(text)
    return config, [command, f"--config={values.config}", *rest]


def _parse(values: flags.FlagValues, argv: list[str], known_only: bool) -> list[str]:
    try:
        return values(argv, known_only)
    except flags.UnrecognizedFlagError as error:
        hint = nearest(error.flagname, values)
        raise UserError(f"--{error.flagname}: no such flag{hint}") from error
    except flags.Error as error:
        raise UserError(" ".join(str(error).split())) from error


def _leave_helped(text: str) -> NoReturn:
    print(text)
    sys.exit(0)


def _share_compiled_programs() -> None:
    """Let JAX keep compiled programs in the user's cache folder by default."""
    # Without the cache, programs are compiled again.
    warnings.filterwarnings("ignore", "Error (reading|writing) persistent compilation")
    folder = platformdirs.user_cache_path("mi_classifier") / "compiled"
    if "JAX_COMPILATION_CACHE_DIR" not in os.environ:
        # Whoever may write there could have us run programs of theirs.
        try:
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            status = folder.stat()
        except OSError:
            return
        if os.name == "posix" and (
            status.st_mode & 0o022 or status.st_uid != os.getuid()
        ):
            return
        os.environ["JAX_COMPILATION_CACHE_DIR"] = str(folder)
        # Other programs may keep theirs without a limit in a folder of the user's.
        os.environ.setdefault("JAX_COMPILATION_CACHE_MAX_SIZE", str(2**30))  # bytes
    defaults = {
        "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0",
        "JAX_PERSISTENT_CACHE_MIN_ENTRY_SIZE_BYTES": "-1",
    }
    for name, value in defaults.items():
        os.environ.setdefault(name, value)


def _print_unraisable(unraisable: Any) -> None:
    """Ignore what Orbax prints, at length, when a checkpoint fails."""
    if str(unraisable.exc_value) != "Event loop is closed":
        sys.__unraisablehook__(unraisable)


@contextlib.contextmanager
def _guarded() -> Iterator[None]:
    """Leave with one line and a status at errors that are no bugs of ours."""
    try:
        yield
    except UserError as error:
        _leave(f"error: {error}", 2)
    except OSError as error:
        if error.errno not in DISK_ERRORS:
            raise
        where = f"{error.filename}: " if error.filename else ""
        _leave(f"error: {where}{error.strerror}", 2)
    except (AssertionError, RuntimeError, ValueError) as error:
        if re.search(r"environment 'JAX_|JAX flag", str(error)):
            _leave(f"error: {error}; correct the variable, or unset it", 2)
        if without := _without_devices():
            remedy = (
                "set JAX_PLATFORMS=cpu, or install JAX for your device, such as pip "
                "install 'mi_classifier[cuda12]'"
            )
            _leave(f"error: JAX finds no device: {without}; {remedy}", 2)
        if not _lost_a_peer(error):
            raise
        lost = f"error: lost another process of this run; {_GOES_ON}, on as many"
        reason = " ".join(str(error).split())[:100]
        _leave(f"{lost} processes as there are ({reason})", LOST)
    except MemoryError as error:
        reason = " ".join(str(error).split())[:200]
        _leave(f"error: not enough memory{f' ({reason})' if reason else ''}", 2)
    except termination.Terminated as ended:
        _leave_ended(ended.signal)


def _without_devices() -> str:
    """Return why JAX has no device, whatever error that led to; "" if it has one."""
    try:
        if jax := sys.modules.get("jax"):
            jax.devices()
    except (AssertionError, RuntimeError) as error:
        reason = " ".join(str(error).split())[:200]
        return reason or f"JAX_PLATFORMS={os.environ.get('JAX_PLATFORMS')}"
    return ""


def _lost_a_peer(error: Exception) -> bool:
    """Return whether an error is JAX's, in one of several processes of a run."""
    jax = sys.modules.get("jax")
    if jax is None:
        return False
    # Outside jit, a lost peer raises a different exception.
    of_jax = isinstance(error, jax.errors.JaxRuntimeError) or "Gloo" in str(error)
    return of_jax and jax.process_count() > 1


def _leave_ended(signum: int) -> None:
    _leave(f"{_ENDED_BY[signal.Signals(signum).name]}; {_GOES_ON}", 128 + signum)


def _leave(message: str, status: int) -> NoReturn:
    # Another thread may hold the streams, if nobody reads them.
    threading.Timer(_PATIENCE, os._exit, (status,)).start()
    try:
        _say_and_end(message)
    finally:
        # At once: busy threads of the libraries crash or complain when the interpreter
        # is torn down around them.
        os._exit(status)


def _say_and_end(message: str) -> None:
    if sys.stderr.isatty():
        os.write(2, b"\x1b[?25h")  # show the cursor, which a bar has hidden
    print(message, file=sys.stderr)
    if "mi_classifier.processes" in sys.modules:
        sys.modules["mi_classifier.processes"].end()
    if "multiprocessing" in sys.modules:
        for process in sys.modules["multiprocessing"].active_children():
            process.kill()
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(OSError, ValueError):  # a full disk is told already
            stream.flush()
