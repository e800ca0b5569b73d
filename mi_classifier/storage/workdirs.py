"""The folder of a run: config.json, data.json, checkpoints/, evaluation/, and logs."""

import contextlib
import os
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import numpy as np
from ml_collections import ConfigDict

from mi_classifier import config as configs, parallel
from mi_classifier.errors import UserError, nearest
from mi_classifier.storage import checkpoints, files

CONFIG = "config.json"
DATA = "data.json"
CLASSES = "classes.json"
_MOST_TOLD = 4  # fields in which two configs differ
_FOLDERS = ("evaluation", checkpoints.FOLDER, "events")
VERSION = "0.2.0"  # the version of mi_classifier that gave data.json its present form


def check_free_for(
    config: ConfigDict, workdir: Path, may_go_on: bool | None = None
) -> None:
    """Check that a folder is a workdir of `config`, or may become one.

    Fields that only the evaluation uses may differ.

    Args:
      config: the config of the run.
      workdir: the folder.
      may_go_on: whether a run of fewer epochs may be continued; None if the run has no
        epochs.
    """
    _check_links(workdir)
    for name in ("metrics.jsonl", ".lock"):  # others are replaced, links or not
        _check_link(workdir, workdir / name)
    if (workdir / CONFIG).exists():
        theirs, why = load_config(workdir), ""
        if may_go_on is not None and _has_more_epochs(config, theirs):
            if may_go_on:
                theirs = theirs.copy_and_resolve_references()
                theirs.num_epochs = config.num_epochs
            else:
                why = (
                    "; its learning rates depend on num_epochs, so it cannot go on "
                    "(only optimizer.schedule=constant or step can)"
                )
        if differing := configs.training_differences(config, theirs):
            some, more = "; ".join(differing[:_MOST_TOLD]), len(differing) - _MOST_TOLD
            some += f"; and {more} more fields" * (more > 0)
            raise UserError(
                f"{workdir} holds a run of another config ({some}){why}; give another "
                "--workdir, or remove this one"
            )
    elif (workdir / checkpoints.FOLDER).exists():
        raise UserError(
            f"{workdir}: has checkpoints but no {CONFIG}; restore it, or give another "
            "--workdir"
        )


def _check_links(workdir: Path) -> None:
    """Refuse links that have us write elsewhere, as a workdir of others may have."""
    try:
        str(workdir).encode()
    except UnicodeEncodeError:
        raise UserError(
            f"{workdir}: a name that is not UTF-8, or the locale is not; set "
            "PYTHONUTF8=1, or give another --workdir"
        ) from None
    if workdir.is_symlink() and not workdir.exists():
        raise UserError(
            f"--workdir: {workdir} is a link to {os.readlink(workdir)}, which does not "
            "exist; make that folder, or give another --workdir"
        )
    for folder in (workdir, *(workdir / name for name in _FOLDERS)):
        if folder.exists() and not folder.is_dir():
            raise UserError(f"--workdir: {folder} is a file, not a folder")
    for path in _folders_of(workdir):
        _check_link(workdir, path)


def _check_link(workdir: Path, path: Path) -> None:
    if path.is_symlink() and not path.resolve().is_relative_to(workdir.resolve()):
        raise UserError(
            f"{path}: a link that leads out of the workdir; put there what it leads to"
        )


def _folders_of(workdir: Path) -> Iterator[Path]:
    """Yield the folders that we write to, and those inside of them."""
    for name in _FOLDERS:
        yield workdir / name
        for folder, inside, _ in os.walk(workdir / name):
            yield from (Path(folder, each) for each in inside)


def _has_more_epochs(config: ConfigDict, before: ConfigDict) -> bool:
    counts = [c.get("num_epochs") for c in (before, config)]
    return all(isinstance(n, int) for n in counts) and counts[0] < counts[1]


def open_for(config: ConfigDict, workdir: Path, may_go_on: bool | None = None) -> None:
    """Make a folder the workdir of `config`, see `check_free_for`."""
    check_free_for(config, workdir, may_go_on)
    path = workdir / CONFIG
    if not path.exists() or configs.differences(config, load_config(workdir)):
        files.write_hashed(path, configs.to_json(config))


def check_data(
    workdir: Path,
    fingerprints: dict[str, str],
    of_arrays: Callable[[], dict[str, str]] | None = None,
) -> None:
    """Check the hashes of a run's splits against those that it started with.

    The first call records them. `of_arrays` returns the hashes that version 0.1
    recorded; it is called only for a workdir of that version.
    """
    path = workdir / DATA
    if not path.exists():
        text = files.to_json({"version": VERSION, "splits": fingerprints}, indent=2)
        known = files.may_be(path, text)
        if not known and of_arrays:
            known = files.may_be(path, files.to_json(of_arrays(), indent=2))
        if not known:
            raise UserError(
                f"{path}: is missing, and the run started with other data; restore "
                "that data, or give another --workdir"
            )
        files.write_hashed(path, text)
        return
    noted = files.read_json(path, "restore it, or train in another --workdir")
    is_new = isinstance(noted.get("splits"), dict)
    hashes = noted["splits"] if is_new else noted

    def differing(found: dict[str, str]) -> str:
        return ", ".join(name for name in found if hashes.get(name) != found[name])

    names = differing(fingerprints)
    if names and of_arrays and not is_new:
        names = differing(of_arrays())
    if names and is_new:
        raise UserError(
            f"{workdir}: the run started with other data ({names}); restore that data, "
            "or give another --workdir"
        )
    if names:
        raise UserError(
            f"{workdir}: written by version 0.1 or with other data ({names}); train "
            "again in another --workdir, or evaluate this one with version 0.1"
        )


def run_of(config: ConfigDict, workdir: Path) -> dict[str, str]:
    """Return what decides about the net of a run, as `Checkpoints` takes it."""
    path, of_data = workdir / DATA, {}
    if path.exists():
        noted = files.read_json(path, "restore it, or train in another --workdir")
        of_data = {"data": files.hash_text(files.to_json(noted.get("splits")))[:12]}
    return configs.of_net(config) | of_data


def note_classes(workdir: Path, names: Sequence[str], log_prior: np.ndarray) -> None:
    """Keep the class names of a run and log P(y) of its training labels, `[M]`."""
    path = workdir / CLASSES
    if not path.exists():
        # JSON has no -inf, so a class that training never saw is written as null.
        content = {"names": list(names), "log_prior": np.asarray(log_prior)}
        files.write_hashed(path, files.to_json(content, indent=2))


def load_classes(workdir: Path) -> tuple[tuple[str, ...], np.ndarray] | None:
    """Return what `note_classes` kept; None for a run of version 0.1, which did not."""
    path, remedy = workdir / CLASSES, "restore it from a backup"
    if not path.exists():
        return None
    content = files.read_json(path, remedy)
    try:
        values = [-np.inf if v is None else v for v in content["log_prior"]]
        names, log_prior = tuple(content["names"]), np.array(values, np.float32)
    except (KeyError, TypeError, ValueError) as error:
        raise UserError(f"{path}: cannot be read: {error}; {remedy}") from error
    return names, log_prior


def load_config(workdir: Path) -> ConfigDict:
    """Read the config of a workdir, also of one that version 0.1 wrote."""
    path = workdir / CONFIG
    if not workdir.is_dir():
        what = "is a file, not a folder" if workdir.exists() else "does not exist"
        hint = nearest(str(workdir), ["imagenet"])  # stands for a net, see `load`
        raise UserError(f"--workdir: {workdir} {what}{hint}")
    _check_links(workdir)
    try:
        text = files.read_hashed(path, "restore it from a backup")
        return configs.upgrade(configs.from_json(text))
    except UserError:
        raise
    except FileNotFoundError:
        message = f"{workdir}: not a workdir: no {CONFIG}; train.py makes one"
        raise UserError(message) from None
    except (ValueError, TypeError) as error:
        raise UserError(f"{path}: cannot be read: {error}") from error


@contextlib.contextmanager
def hold(workdir: Path) -> Iterator[None]:
    """Keep other runs out of a workdir until the context is left.

    If several processes share a run, the first one holds the workdir for all.
    """
    if not parallel.is_first():
        yield
        return
    refusal = f"--workdir: another process trains in {workdir}"
    refusal += "; wait for it, or give another --workdir"
    new = [folder for folder in (workdir, *workdir.parents) if not folder.exists()]
    temporary = f".*{files.TEMPORARY}"
    leftovers = (
        temporary,
        f"evaluation/{temporary}",
        f"evaluation/figures/{temporary}",
        f"{checkpoints.FOLDER}/{checkpoints.UNFINISHED}",
    )
    try:
        with files.hold(workdir / ".lock", refusal=refusal, leftovers=leftovers):
            yield
    finally:
        for folder in new:  # remove them again if an error has left them empty
            with contextlib.suppress(OSError):
                folder.rmdir()
