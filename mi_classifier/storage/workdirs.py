"""The folder of a run: config.json, data.json, checkpoints/, evaluation/, and logs."""

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from ml_collections import ConfigDict

from mi_classifier import parallel
from mi_classifier.storage import checkpoints, files
from mi_classifier import config as configs
from mi_classifier.errors import UserError

CONFIG = "config.json"
_DATA = "data.json"


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
        if (workdir / checkpoints.FOLDER).exists():
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
        files.write_hashed(path, configs.to_json(config))


def check_data(workdir: Path, fingerprints: dict[str, str]) -> None:
    """Checks that a run meets the data that it started with, which are noted first.

    Args:
      workdir: the run's folder.
      fingerprints: a hash of each split.

    Raises:
      UserError: other data, naming the splits that differ.
    """
    path = workdir / _DATA
    if not path.exists():
        text = files.to_json(fingerprints, indent=2)
        if not files.may_be(path, text):
            raise UserError(
                f"{path}: is gone, and the run started with other data; bring those "
                "back, or give another --workdir"
            )
        files.write_hashed(path, text)
        return
    noted = files.read_json(path, "bring it back, or train in another --workdir")
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
        return configs.from_json(files.read_hashed(path, "bring it back"))
    except UserError:
        raise
    except FileNotFoundError:
        raise UserError(
            f"{workdir}: not a workdir: no {CONFIG}; train.py makes one"
        ) from None
    except (OSError, ValueError, TypeError) as error:
        raise UserError(f"{path}: cannot be read: {error}") from error


def read_cross_fit(workdir: Path) -> dict[str, Any]:
    """Reads the figures of a cross-fit, and checks the rest of what it wrote.

    Raises:
      UserError: it has not ended yet, or is damaged.
    """
    folder = workdir / "evaluation"
    if not (folder / "metrics.json").exists():
        raise UserError(f"{workdir}: no estimate yet; run train.py on it first")
    remedy = f"remove {folder}, and train again"
    figures = files.read_json(folder / "metrics.json", remedy)
    try:
        files.read_hashed(folder / "predictions.csv", remedy)
    except FileNotFoundError:
        raise UserError(f"{folder}: predictions.csv is gone; {remedy}") from None
    return figures


@contextlib.contextmanager
def hold(workdir: Path) -> Iterator[None]:
    """Keeps other runs out of a workdir, as long as this one lives.

    Of several processes that share a run the first holds it for all.

    Raises:
      UserError: another run holds it, or it cannot be written to.
    """
    if not parallel.is_first():
        yield
        return
    refusal = (
        f"--workdir: another process trains in {workdir}; wait for it, or give another "
        "--workdir"
    )
    existed = workdir.exists()
    leftovers = f".*{files.TEMPORARY}", f"{checkpoints.FOLDER}/{checkpoints.UNFINISHED}"
    try:
        with files.hold(workdir / ".lock", refusal=refusal, leftovers=leftovers):
            yield
    finally:
        if not existed:
            with contextlib.suppress(OSError):  # unless a mistake has left it empty
                workdir.rmdir()
