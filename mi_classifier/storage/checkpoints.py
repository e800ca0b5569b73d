"""Checkpoints of a run: written atomically, and checked when they are read."""

import contextlib
import hashlib
import json
import os
import re
import shutil
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import orbax.checkpoint as ocp

from mi_classifier import parallel
from mi_classifier.errors import UserError, reason_of
from mi_classifier.progress import say
from mi_classifier.storage.files import hash_text

FOLDER = "checkpoints"
UNFINISHED = "*.orbax-checkpoint-tmp*"  # pattern of what a kill may leave in it
_LOG = "log"  # the item with the metrics so far and the hashes of the other items


class Part(NamedTuple):
    """Sums over the steps of an epoch that are done.

    Attributes:
      loss: sum of the mean losses of its batches so far.
      accuracy: the same of their accuracies.
      seconds: that it has taken.
    """

    loss: float = 0.0
    accuracy: float = 0.0
    seconds: float = 0.0


_NOTHING = Part()


class Checkpoints(contextlib.AbstractContextManager):
    """The two latest checkpoints of a run, each with its state and best variables.

    When the context is left, even by an exception, it writes what `save_soon` has put
    off and waits until it is on disk. A full disk raises a `UserError` then, or in the
    next save.

    Args:
      workdir: of the run.
      run: what decides about the net, by name; a checkpoint of another run is refused.
    """

    def __init__(self, workdir: Path, run: Mapping[str, str] | None = None) -> None:
        self._run = dict(run or {})
        self._folder = workdir.absolute() / FOLDER
        if self._folder.exists() and not self._folder.is_dir():
            raise UserError(f"{self._folder} is a file, not a folder; remove it")
        self._folder.mkdir(parents=True, exist_ok=True)
        # All processes read, only the first one writes, and none waits for another.
        process = jax.process_index()
        alone = ocp.options.MultiprocessingOptions(
            primary_host=process,
            active_processes={process},
            barrier_sync_key_prefix=f"process{process}",
        )
        options = ocp.CheckpointManagerOptions(
            max_to_keep=2, create=False, multiprocessing_options=alone
        )
        self._manager = ocp.CheckpointManager(
            self._folder, item_names=("state", "best", _LOG), options=options
        )
        self._pending: tuple[int, dict[str, Any], list[Any], Part] | None = None
        self._damaged: list[int] = []
        self._saved_at = time.monotonic()
        self._saved_step = self._manager.latest_step()

    def __exit__(self, *exception: object) -> None:
        with self._failures_told(), contextlib.closing(self._manager):
            self._save_pending()

    def save_soon(
        self,
        step: int,
        state: Any,
        best: Any,
        rows: Sequence[Mapping[str, float]],
        seconds: float,
        part: Part = _NOTHING,
    ) -> None:
        """Write a checkpoint in the background, or put it off for some `seconds`.

        Args:
          step: names the checkpoint.
          state: tree of arrays. What is put off may not be donated to a compiled
            function; what is written may, as soon as this method returns.
          best: the same, see `best_item`.
          rows: the metrics of the epochs so far.
          seconds: that must lie between two checkpoints.
          part: of the epoch after `rows`.
        """
        if not parallel.is_first():
            return
        self._pending = step, {"state": state, "best": best}, list(rows), part
        # To write a step again, the first writing would have to be removed before.
        if self.are_due(seconds) and step != self._saved_step:
            with self._failures_told():
                self._save_pending()

    def are_due(self, seconds: float) -> bool:
        """Return whether so many seconds have passed since the last checkpoint."""
        return parallel.is_first() and time.monotonic() - self._saved_at >= seconds

    def wait(self) -> None:
        """Wait until what was written is on disk."""
        with self._failures_told():
            self._manager.wait_until_finished()

    @contextlib.contextmanager
    def _failures_told(self) -> Iterator[None]:
        # Orbax and TensorStore hide the error's number in the text of their own errors.
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
        (step, items, rows, part), self._pending = self._pending, None
        # Orbax writes no step older than damaged ones, and none twice, as when a run
        # has stopped in the validation after this step.
        for hindering in {*self._damaged, step} & set(self._manager.all_steps()):
            self._manager.wait_until_finished()
            self._remove(hindering)
        self._damaged = []
        # Orbax expects arrays of all processes, and the hashes need them on the host.
        # They are copied, because the devices may write over them next.
        items = jax.tree.map(np.array, items)
        arguments = {k: ocp.args.StandardSave(tree) for k, tree in items.items()}
        log = {
            "hashes": {k: hash_tree(tree) for k, tree in items.items()},
            "rows": rows,
            "part": part._asdict(),
            "run": self._run,
        }
        arguments[_LOG] = ocp.args.JsonSave(log | {"own_hash": _hash_json(log)})
        self._manager.save(step, args=ocp.args.Composite(**arguments))
        self._saved_at, self._saved_step = time.monotonic(), step

    def _remove(self, step: int) -> None:
        """Remove a checkpoint; a kill leaves it whole, or what the next run removes."""
        folder = self._folder / str(step)
        moved = folder.with_name(f"{step}.orbax-checkpoint-tmp-removed")
        folder.rename(moved)
        shutil.rmtree(moved)
        self._manager.reload()

    def latest_step(self) -> int | None:
        """Return the step of the latest complete checkpoint, or None."""
        return self._manager.latest_step()

    def restore(self, **templates: Any) -> dict[str, Any]:
        """Restore the latest checkpoint, or the previous one if that is damaged.

        `templates` are trees of arrays or shapes for `state` or `best` or both. The
        same items come back on the present devices, with the "rows" of the metrics and
        the "part" of the epoch after them.
        """
        steps = sorted(self._manager.all_steps(), reverse=True)
        if not steps:
            raise _no_checkpoint(self._folder.parent)
        reasons = []
        for step in steps:
            try:
                return self._restore(step, templates)
            except UserError:
                raise
            except Exception as error:  # noqa: BLE001 (damage may raise anything)
                folder = self._folder / str(step)
                if not folder.exists():  # a training process has replaced it
                    self._manager.reload()
                    return self.restore(**templates)
                reasons.append(reason_of(error)[:200])
                self._damaged.append(step)
                if step != steps[-1]:
                    told = f"warning: {folder} is damaged ({reasons[-1]})"
                    say(f"{told}; the previous checkpoint is used")
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
            if hash_tree(restored[name]) != log["hashes"][name]:
                raise ValueError(f"{name} is not what was written")
        theirs = log.get("run", {})  # none before version 0.7
        for name, value in self._run.items():
            if theirs.get(name, value) != value:
                raise UserError(
                    f"{self._folder / str(step)}: of another run: {name} is "
                    f"{theirs[name]} there, and {value} here"
                )
        found = {name: restored[name] for name in templates}
        # Before version 0.6, checkpoints lay between epochs.
        return found | {"rows": log["rows"], "part": Part(**log.get("part", {}))}


def _hash_json(value: Any) -> str:
    return hash_text(json.dumps(value, sort_keys=True))


def hash_tree(tree: Any) -> str:
    """Return a hash of the names and the arrays of a tree."""
    whole = hashlib.sha256()
    for path, leaf in jax.tree_util.tree_leaves_with_path(tree):
        array = np.ascontiguousarray(leaf)
        name = jax.tree_util.keystr(path)
        whole.update(f"{name} {array.shape} {array.dtype}".encode())
        whole.update(array.reshape(-1).view(np.uint8))
    return whole.hexdigest()


def best_item(variables: Any, epoch: int = 0, score: float = -np.inf) -> dict[str, Any]:
    """Return the best epoch so far, numbered from 1 (0: none yet), as an item."""
    epoch, score = jnp.int32(epoch), jnp.float32(score)
    return {"variables": variables, "epoch": epoch, "score": score}


def restore_best(
    workdir: Path, variables: Any, run: Mapping[str, str] | None = None
) -> tuple[dict[str, Any], list[dict[str, float]]]:
    """Restore a run's `best_item`, given the shapes of its variables, and its metrics.

    The metrics are one row for each epoch so far, and there is one at least. See
    `Checkpoints` for `run`.
    """
    check_has_checkpoint(workdir)
    with Checkpoints(workdir, run) as checkpoints:
        restored = checkpoints.restore(best=jax.eval_shape(best_item, variables))
    if not restored["rows"]:
        raise UserError(f"{workdir}: no epoch is finished yet; go on with train.py")
    return restored["best"], restored["rows"]


def has_checkpoint(workdir: Path) -> bool:
    """Return whether a run has a checkpoint."""
    return any(path.name.isdigit() for path in (workdir / FOLDER).glob("*"))


def check_has_checkpoint(workdir: Path) -> None:
    """Raise an error that says to train first if a run has no checkpoint."""
    if not has_checkpoint(workdir):
        raise _no_checkpoint(workdir)


def _no_checkpoint(workdir: Path) -> UserError:
    return UserError(f"{workdir}: no checkpoint yet; run train.py on it first")
