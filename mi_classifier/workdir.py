"""The folder of a run: config.json, data.json, checkpoints/, evaluation/, and logs.

Files appear whole or not at all, so that a kill at any moment leaves a workdir that
resumes.
"""

import contextlib
import hashlib
import json
import os
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Self

import jax
import jax.numpy as jnp
import numpy as np
import orbax.checkpoint as ocp
from filelock import FileLock, Timeout
from ml_collections import ConfigDict

from mi_classifier import config as configs
from mi_classifier import parallel
from mi_classifier.errors import UserError

CONFIG = "config.json"
_DATA = "data.json"
_CHECKPOINTS = "checkpoints"
_LOG = "log"  # of a checkpoint: the metrics so far, and hashes of the other items
_LOCK = ".lock"
_KNOWN = ".configs.json"  # hashes of the configs that were written


def write_with(path: Path, write: Callable[[Path], object]) -> None:
    """Lets `write` make a file that appears whole or not at all.

    Of several processes the first alone writes.

    Args:
      path: of the file; its folder is made if need be.
      write: writes to the path that it is given.

    Raises:
      UserError: the folder cannot be written to.
    """
    if not parallel.is_first():
        return
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary = path.with_name(f".{path.name}.{os.getpid()}")
        try:
            write(temporary)
            with temporary.open("rb") as file:
                os.fsync(file.fileno())
            temporary.replace(path)
        finally:
            temporary.unlink(missing_ok=True)
    except OSError as error:
        raise UserError(f"{path}: cannot be written: {error.strerror}") from error


def write_text(path: Path, text: str) -> None:
    """Writes a UTF-8 file whole or not at all, making its folder if need be.

    Raises:
      UserError: the folder cannot be written to.
    """
    # Names of files are not always text: their bytes are written as they are.
    content = text.encode("utf-8", "surrogateescape")
    write_with(path, lambda temporary: temporary.write_bytes(content))


def to_json(value: Any, indent: int | None = None) -> str:
    """Returns strict JSON: arrays as lists, NaN and infinity as null."""
    return json.dumps(_plain(value), indent=indent, allow_nan=False) + "\n"


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(item) for item in value]
    if isinstance(value, (np.ndarray, np.generic, jax.Array)):
        return _plain(np.asarray(value).tolist())
    return None if isinstance(value, float) and not np.isfinite(value) else value


def read_json(path: Path) -> Any:
    """Reads JSON.

    Raises:
      UserError: there is no such file, or it cannot be read.
    """
    try:
        return json.loads(path.read_text())
    except FileNotFoundError:
        raise UserError(f"{path}: is not there yet; run train.py first") from None
    except (OSError, ValueError) as error:
        raise UserError(f"{path}: cannot be read: {error}") from error


def check_free_for(config: ConfigDict, workdir: Path) -> None:
    """Checks that a folder is a workdir of `config`, or may become one.

    How a run is evaluated may change after it was trained.

    Raises:
      UserError: it is that of another config, naming the fields that differ; or a
        file, or holds checkpoints of an unknown config.
    """
    if workdir.exists() and not workdir.is_dir():
        raise UserError(f"--workdir: {workdir} is a file, not a folder")
    if not (workdir / CONFIG).exists():
        if (workdir / _CHECKPOINTS).exists():
            raise UserError(f"{workdir}: has checkpoints but no {CONFIG}")
        return
    if differing := configs.training_differences(config, load_config(workdir)):
        raise UserError(
            f"{workdir} holds a run of another config ({'; '.join(differing)}); "
            "give another --workdir, or remove this one"
        )


def open_for(config: ConfigDict, workdir: Path) -> None:
    """Makes a folder that is free for `config` its workdir.

    Raises:
      UserError: as `check_free_for`, or it cannot be written to.
    """
    check_free_for(config, workdir)
    path = workdir / CONFIG
    if not path.exists() or configs.differences(config, load_config(workdir)):
        text = configs.to_json(config)
        # A kill between the two files leaves the old config, which is known as well.
        write_text(workdir / _KNOWN, to_json([*_known(workdir), _hash_text(text)]))
        write_text(path, text)


def check_data(workdir: Path, fingerprints: dict[str, str]) -> None:
    """Checks that a run meets the data that it started with, which are noted first.

    Args:
      workdir: the run's folder.
      fingerprints: a hash of each split.

    Raises:
      UserError: other data, naming the splits that differ.
    """
    path = workdir / _DATA
    try:
        noted = json.loads(path.read_text())
    except FileNotFoundError:
        write_text(path, to_json(fingerprints, indent=2))
        return
    except (OSError, ValueError) as error:
        raise UserError(f"{path}: cannot be read: {error}") from error
    differing = [name for name in fingerprints if noted.get(name) != fingerprints[name]]
    if differing:
        raise UserError(
            f"{workdir}: the run started with other data ({', '.join(differing)}); "
            "bring those back, or give another --workdir"
        )


def load_config(workdir: Path) -> ConfigDict:
    """Reads the config of a workdir.

    Raises:
      UserError: there is none, or it cannot be read.
    """
    path = workdir / CONFIG
    if not workdir.is_dir():
        what = "is a file, not a folder" if workdir.exists() else "does not exist"
        raise UserError(f"--workdir: {workdir} {what}")
    try:
        text = path.read_text()
        if (known := _known(workdir)) and _hash_text(text) not in known:
            raise UserError(
                f"{path}: not what train.py wrote; bring that back, or, if you changed "
                f"it, remove {workdir / _KNOWN}"
            )
        return configs.from_json(text)
    except UserError:
        raise
    except FileNotFoundError:
        raise UserError(
            f"{workdir}: not a workdir: no {CONFIG}; train.py makes one"
        ) from None
    except (OSError, ValueError, TypeError) as error:
        raise UserError(f"{path}: cannot be read: {error}") from error


@contextlib.contextmanager
def hold(workdir: Path) -> Iterator[None]:
    """Keeps other runs out of a workdir, as long as this one lives.

    Of several processes the first holds it for all.

    Raises:
      UserError: another run holds it.
    """
    if not parallel.is_first():
        yield
        return
    workdir.mkdir(parents=True, exist_ok=True)
    # The system lets go of it whatever ends the process.
    lock = FileLock(workdir / _LOCK, blocking=False)
    try:
        lock.acquire()
    except Timeout:
        raise UserError(
            f"--workdir: another process trains in {workdir}; wait for it, or give "
            "another --workdir"
        ) from None
    try:
        yield
    finally:
        lock.release()
        if [path.name for path in workdir.iterdir()] == [_LOCK]:  # a mistake
            (workdir / _LOCK).unlink()
            workdir.rmdir()


def _known(workdir: Path) -> list[str]:
    """Returns hashes of the configs that were written to a workdir, if any are noted.

    Raises:
      UserError: the note is damaged.
    """
    path = workdir / _KNOWN
    try:
        known = json.loads(path.read_text())
        if not isinstance(known, list):
            raise TypeError("not a list")
    except FileNotFoundError:
        return []
    except (OSError, ValueError, TypeError) as error:
        raise UserError(f"{path}: cannot be read; remove it ({error})") from error
    return known


def _hash_text(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


class Checkpoints:
    """The checkpoints of a run: its latest state and its best variables, together.

    Both are items of one Orbax step, so that they are written as one, with a hash of
    each; the two latest steps are kept. Leaving the context, even by an exception,
    writes what `save_soon` has put off and waits until it is on disk.
    """

    def __init__(self, workdir: Path) -> None:
        self._folder = workdir.absolute() / _CHECKPOINTS
        if self._folder.exists() and not self._folder.is_dir():
            raise UserError(f"{self._folder} is a file, not a folder")
        # Every process reads, the first alone writes, and none waits for another.
        process = jax.process_index()
        alone = ocp.options.MultiprocessingOptions(
            primary_host=process,
            active_processes={process},
            barrier_sync_key_prefix=f"process{process}",
        )
        self._folder.mkdir(parents=True, exist_ok=True)
        self._manager = ocp.CheckpointManager(
            self._folder,
            item_names=("state", "best", _LOG),
            options=ocp.CheckpointManagerOptions(
                max_to_keep=2, create=False, multiprocessing_options=alone
            ),
        )
        self._pending: tuple[int, dict[str, Any], list[Any]] | None = None
        self._damaged: list[int] = []
        self._saved_at = time.monotonic()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        self._save_pending()
        self._manager.close()

    def save_soon(
        self,
        step: int,
        state: Any,
        best: Any,
        rows: Sequence[Mapping[str, float]],
        seconds: float,
    ) -> None:
        """Writes them in the background, unless the last time was just now.

        Args:
          step: the state's, larger than that of any earlier call.
          state: a tree of arrays that nobody donates.
          best: another one.
          rows: of the metrics so far.
          seconds: since the last write, before which they are only kept in mind.
        """
        if not parallel.is_first():
            return
        self._pending = step, {"state": state, "best": best}, list(rows)
        if time.monotonic() - self._saved_at >= seconds:
            self._save_pending()

    def _save_pending(self) -> None:
        if self._pending is None:
            return
        (step, items, rows), self._pending = self._pending, None
        for damaged in self._damaged:  # what is older than a step cannot be written
            self._manager.delete(damaged)
        self._damaged = []
        # Orbax would want arrays of all processes, and the hashes want them here.
        items = jax.tree.map(np.asarray, items)
        arguments = {k: ocp.args.StandardSave(tree) for k, tree in items.items()}
        log = {"hashes": {k: _hash(tree) for k, tree in items.items()}, "rows": rows}
        arguments[_LOG] = ocp.args.JsonSave(log | {"own_hash": _hash_json(log)})
        self._manager.save(step, args=ocp.args.Composite(**arguments))
        self._saved_at = time.monotonic()

    def latest_step(self) -> int | None:
        """Returns the step of the latest complete checkpoint, or None."""
        return self._manager.latest_step()

    def restore(self, **templates: Any) -> dict[str, Any]:
        """Restores items of the latest checkpoint onto the devices there are now.

        One that is damaged is told of, and the one before is taken.

        Args:
          **templates: `state` or `best` or both, trees of arrays or shapes.

        Returns:
          The items, and the "rows" of the metrics until then.

        Raises:
          UserError: there is no checkpoint, or none that fits the template.
        """
        steps = sorted(self._manager.all_steps(), reverse=True)
        if not steps:
            raise _no_checkpoint(self._folder.parent)
        reasons = []
        for step in steps:
            try:
                return self._restore(step, templates)
            except Exception as error:  # noqa: BLE001, readers of damage raise anything
                reasons.append(" ".join(str(error).split())[:200])
                self._damaged.append(step)
            if step != steps[-1]:
                print(
                    f"warning: {self._folder / str(step)} is damaged "
                    f"({reasons[-1]}); the checkpoint before it is taken",
                    file=sys.stderr,
                )
        raise UserError(
            f"{self._folder}: damaged, or of another model; train again in another "
            f"--workdir ({reasons[0]})"
        )

    def _restore(self, step: int, templates: dict[str, Any]) -> dict[str, Any]:
        sharding = parallel.replicated()
        targets = jax.tree.map(
            lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=sharding),
            templates,
        )
        items = {k: ocp.args.StandardRestore(v) for k, v in targets.items()}
        items[_LOG] = ocp.args.JsonRestore()
        restored = self._manager.restore(step, args=ocp.args.Composite(**items))
        log = restored[_LOG]
        if log.pop("own_hash") != _hash_json(log):
            raise ValueError("the log is not what was written")
        for name in templates:
            if _hash(restored[name]) != log["hashes"][name]:
                raise ValueError(f"{name} is not what was written")
        return {name: restored[name] for name in templates} | {"rows": log["rows"]}


def _hash_json(value: Any) -> str:
    return _hash_text(json.dumps(value, sort_keys=True))


def _hash(tree: Any) -> str:
    """Returns a hash of the arrays of a tree and of their names."""
    whole = hashlib.sha256()
    for path, leaf in jax.tree_util.tree_leaves_with_path(tree):
        array = np.ascontiguousarray(leaf)
        name = jax.tree_util.keystr(path)
        whole.update(f"{name} {array.shape} {array.dtype}".encode())
        whole.update(array.reshape(-1).view(np.uint8))
    return whole.hexdigest()


def best_item(variables: Any, epoch: int = 0, score: float = -np.inf) -> dict[str, Any]:
    """Returns what is kept of the best epoch so far.

    Args:
      variables: the model's parameters and batch statistics after it.
      epoch: counted from 1; 0 before the first.
      score: of the validation split, by which it is the best.
    """
    return {
        "variables": variables,
        "epoch": jnp.int32(epoch),
        "score": jnp.float32(score),
    }


def restore_best(workdir: Path, variables: Any) -> dict[str, Any]:
    """Restores the best epoch of a run.

    Args:
      workdir: the run's folder.
      variables: the shapes of the model's.

    Returns:
      A `best_item`.

    Raises:
      UserError: there is no checkpoint, or it is damaged or of another model.
    """
    check_has_checkpoint(workdir)
    with Checkpoints(workdir) as checkpoints:
        return checkpoints.restore(best=jax.eval_shape(best_item, variables))["best"]


def has_checkpoint(workdir: Path) -> bool:
    """Returns whether a run has got as far as a checkpoint."""
    return any(path.name.isdigit() for path in (workdir / _CHECKPOINTS).glob("*"))


def check_has_checkpoint(workdir: Path) -> None:
    """Checks that a run has got as far as a checkpoint.

    Raises:
      UserError: it has not.
    """
    if not has_checkpoint(workdir):
        raise _no_checkpoint(workdir)


def _no_checkpoint(workdir: Path) -> UserError:
    return UserError(f"{workdir}: no checkpoint yet; run train.py on it first")
