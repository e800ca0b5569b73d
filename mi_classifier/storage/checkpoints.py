"""Checkpoints of a run, written as a whole and checked when they are read."""

import contextlib
import hashlib
import json
import os
import re
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Self

import jax
import jax.numpy as jnp
import numpy as np
import orbax.checkpoint as ocp

from mi_classifier import parallel
from mi_classifier.errors import UserError, reason_of
from mi_classifier.storage.files import hash_text

FOLDER = "checkpoints"
UNFINISHED = "*.orbax-checkpoint-tmp*"  # pattern of what a kill may leave in it
_LOG = "log"  # the item with the metrics so far and the hashes of the other items


class Checkpoints:
    """A context manager for the latest state and the best variables of a run.

    Both are items of one Orbax step, so that they are written as a whole, with a hash
    of each. The two latest steps are kept. When the context is left, even by an
    exception, it writes what `save_soon` has put off and waits until it is on disk. If
    the disk is full, that or the next save raises a `UserError`.
    """

    def __init__(self, workdir: Path) -> None:
        self._folder = workdir.absolute() / FOLDER
        if self._folder.exists() and not self._folder.is_dir():
            raise UserError(f"{self._folder} is a file, not a folder; remove it")
        # All processes read, only the first one writes, and none waits for another.
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
        with self._failures_told():
            try:
                self._save_pending()
            finally:
                self._manager.close()

    def save_soon(
        self,
        step: int,
        state: Any,
        best: Any,
        rows: Sequence[Mapping[str, float]],
        seconds: float,
    ) -> None:
        """Writes a checkpoint in the background, or puts it off.

        Args:
          step: the step of the state, larger than in any earlier call.
          state: a tree of arrays that are not donated to a compiled function.
          best: another such tree.
          rows: the rows of the metrics so far.
          seconds: time since the last write before which this one is put off.
        """
        if not parallel.is_first():
            return
        self._pending = step, {"state": state, "best": best}, list(rows)
        if time.monotonic() - self._saved_at >= seconds:
            with self._failures_told():
                self._save_pending()

    @contextlib.contextmanager
    def _failures_told(self) -> Iterator[None]:
        """Turns an error of the disk into a `UserError`."""
        try:
            yield
        except (OSError, ValueError) as error:
            if not (found := re.search(r"(?:Errno |os_error_code=')(\d+)", str(error))):
                raise
            reason = os.strerror(int(found[1]))
            raise UserError(
                f"{self._folder}: cannot be written: {reason}; earlier checkpoints "
                "are kept; make room, and run the same command again to resume"
            ) from error

    def _save_pending(self) -> None:
        if self._pending is None:
            return
        (step, items, rows), self._pending = self._pending, None
        for damaged in self._damaged:  # Orbax writes no step older than these
            self._manager.delete(damaged)
        self._damaged = []
        # Orbax expects arrays of all processes, and the hashes need them on the host.
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
        """Restores items of the latest checkpoint onto the present devices.

        If it is damaged, the previous checkpoint is used, with a warning.

        Args:
          **templates: `state` or `best` or both, trees of arrays or shapes.

        Returns:
          The items, and the "rows" of the metrics until then.

        Raises:
          UserError: there is no checkpoint, or none that fits the templates.
        """
        steps = sorted(self._manager.all_steps(), reverse=True)
        if not steps:
            raise _no_checkpoint(self._folder.parent)
        reasons = []
        for step in steps:
            try:
                return self._restore(step, templates)
            except Exception as error:  # noqa: BLE001 (damage may raise anything)
                if not (self._folder / str(step)).exists():
                    # A training process has replaced it in the meantime.
                    self._manager.reload()
                    return self.restore(**templates)
                reasons.append(reason_of(error)[:200])
                self._damaged.append(step)
            if step != steps[-1]:
                print(
                    f"warning: {self._folder / str(step)} is damaged "
                    f"({reasons[-1]}); the previous checkpoint is used",
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
    return hash_text(json.dumps(value, sort_keys=True))


def _hash(tree: Any) -> str:
    """Returns a hash of the names and the arrays of a tree."""
    whole = hashlib.sha256()
    for path, leaf in jax.tree_util.tree_leaves_with_path(tree):
        array = np.ascontiguousarray(leaf)
        name = jax.tree_util.keystr(path)
        whole.update(f"{name} {array.shape} {array.dtype}".encode())
        whole.update(array.reshape(-1).view(np.uint8))
    return whole.hexdigest()


def best_item(variables: Any, epoch: int = 0, score: float = -np.inf) -> dict[str, Any]:
    """Returns the "best" item of a checkpoint: the best epoch so far.

    Args:
      variables: the model's parameters and batch statistics after that epoch.
      epoch: its number, from 1; 0 before the first.
      score: its score on the validation split.
    """
    return {
        "variables": variables,
        "epoch": jnp.int32(epoch),
        "score": jnp.float32(score),
    }


def restore_best(
    workdir: Path, variables: Any
) -> tuple[dict[str, Any], list[dict[str, float]]]:
    """Restores the best epoch of a run.

    Args:
      workdir: the run's folder.
      variables: the shapes of the model's variables.

    Returns:
      A `best_item`, and the metrics of all epochs so far, one row each.

    Raises:
      UserError: there is no checkpoint, or it is damaged or of another model.
    """
    check_has_checkpoint(workdir)
    with Checkpoints(workdir) as checkpoints:
        restored = checkpoints.restore(best=jax.eval_shape(best_item, variables))
        return restored["best"], restored["rows"]


def has_checkpoint(workdir: Path) -> bool:
    """Returns whether a run has a checkpoint."""
    return any(path.name.isdigit() for path in (workdir / FOLDER).glob("*"))


def check_has_checkpoint(workdir: Path) -> None:
    """Checks that a run has a checkpoint.

    Raises:
      UserError: it has none.
    """
    if not has_checkpoint(workdir):
        raise _no_checkpoint(workdir)


def _no_checkpoint(workdir: Path) -> UserError:
    return UserError(f"{workdir}: no checkpoint yet; run train.py on it first")
