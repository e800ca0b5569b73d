"""The work that faults.py disturbs: commands in a folder, and how they end."""

import contextlib
import gzip
import hashlib
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import common
import numpy as np

from tools import rehearsal

TRAIN = (
    "train.py",
    "--config=configs/gmm.py",
    "--config.model.hidden=(16,)",
    "--config.batch_size=4000",
    "--config.num_epochs=30",
    "--config.checkpoint_seconds=0.0",
    "--config.data.fresh=False",
)
# Epochs of many calls, so that most signals come inside of one.
LONG_EPOCHS = (
    *TRAIN[:3],
    "--config.batch_size=100",
    "--config.steps_per_call=4",
    "--config.num_epochs=3",
    "--config.checkpoint_seconds=0.0",
    "--config.data.fresh=False",
)
RUNS = ("training", "long epochs", "photos", "notebook")  # these train a net
# Trains on arrays in memory, and evaluates, as a notebook does.
NOTEBOOK = """
import sys
import numpy as np
import mi_classifier as mi
rng = np.random.default_rng(0)
labels = np.arange(240) % 3
images = rng.integers(0, 100, (240, 32, 32, 3), np.uint8)
images[np.arange(240), 8 * labels + 4] += 120
dataset = mi.from_arrays((images, labels))
config = mi.get_config("image_folder:scratch,small")
config.model = {"name": "gap_cnn"}
config.num_epochs, config.batch_size = 6, 16
config.checkpoint_seconds = 0.0
mi.train(config, sys.argv[1], dataset=dataset)
mi.evaluate(sys.argv[1], dataset=dataset, quiet=True)
"""
# Loads a data set, and writes a hash of each split: that which the package records,
# and that of the arrays.
PREPARE = """
import json, sys
from mi_classifier import cli
from mi_classifier.data import load_dataset
def main(arguments):
    config, found = arguments
    dataset = load_dataset(json.loads(open(config).read()))
    hashes = dataset.fingerprints(), dataset.hash_arrays()
    print(json.dumps(hashes), file=open(found, "w"))
cli.run(main, positional=True)
"""
# Where the undisturbed work of each kind has ended, if not in undisturbed_KIND.
ENDED_IN = {"training": "trained", "comparison": "trained"}
# Root may read files that nobody may read, unless it gives up these capabilities.
IS_ROOT = os.geteuid() == 0
AS_USER = ("setpriv", "--bounding-set=-dac_override,-dac_read_search") * IS_ROOT


class Answer(NamedTuple):
    """How a command ended; a status of -1 means that it did not."""

    status: int
    output: str
    errors: str

    def outcome(self, is_same: Callable[[], bool]) -> str:
        """Names the outcome; words in capitals break a promise.

        Args:
          is_same: whether the work ended in the same as the undisturbed work.
        """
        lines = self.errors.strip().splitlines()
        lines = [line for line in lines if not line.startswith("epoch ")]  # progress
        if self.status == 0 and is_same():
            return "exact, warned" if "warning: " in self.errors else "exact"
        if self.status == 2 and lines and lines[-1].startswith("error: "):
            return "one line, status 2" if len(lines) == 1 else "status 2, chatty"
        return "SILENT" if self.status == 0 else f"STATUS {self.status}"


def run(
    arguments: Sequence[str],
    environment: Mapping[str, str],
    signal_after: tuple[signal.Signals, float] | None = None,
) -> Answer:
    """Runs a Python command.

    Args:
      arguments: of the interpreter.
      environment: additional variables.
      signal_after: a signal to send, and the seconds after which to send it.
    """
    process = subprocess.Popen(
        [*AS_USER, sys.executable, *arguments],
        cwd=common.REPOSITORY,
        env=os.environ | environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    if signal_after:
        sent, seconds = signal_after
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(seconds)
        if process.poll() is None:
            process.send_signal(sent)
    try:
        output, errors = process.communicate(timeout=300)
    except subprocess.TimeoutExpired:
        process.kill()
        process.communicate()
        return Answer(-1, "", "it still ran after 300 seconds")
    return Answer(process.returncode, output, errors)


class Work:
    """A kind of work in a folder.

    Args:
      kind: "training", which evaluates too; "long epochs", the same with other steps;
        "photos", a training on cached features; "notebook", one of arrays in memory,
        by Python calls; "table", an estimate; "evaluation" of a
        finished training; "comparison" of an evaluation; "preparation" of images; or
        "digits", the preparation of MNIST.
      folder: where the work is done.
      shared: the folder that `end_undisturbed` has filled.
    """

    def __init__(self, kind: str, folder: Path, shared: Path) -> None:
        self.kind, self.folder = kind, folder
        self.environment = {"JAX_COMPILATION_CACHE_DIR": str(shared / "compiled")}
        if kind == "training":
            self.command = (*TRAIN, f"--workdir={folder}")
        elif kind == "long epochs":
            self.command = (*LONG_EPOCHS, f"--workdir={folder}")
        elif kind == "photos":
            self.command = (
                "train.py",
                "--config=configs/image_folder.py",
                f"--config.data.root_dir={shared / 'photos'}",
                f"--config.data.data_dir={folder / 'data'}",
                "--config.num_epochs=5",
                f"--workdir={folder / 'run'}",
            )
        elif kind == "notebook":
            self.command = ("-c", NOTEBOOK, str(folder))
        elif kind == "table":
            table = str(shared / "table.csv")
            command = ("-m", "mi_classifier", "estimate", table, "--labels=y")
            self.command = (*command, f"--workdir={folder}")
        elif kind == "evaluation":
            if not folder.exists():
                shutil.copytree(shared / "trained", folder)
                shutil.rmtree(folder / "evaluation")
            self.command = ("evaluate.py", f"--workdir={folder}")
        elif kind == "comparison":
            self.command = ("evaluate.py", f"--compare={folder}")
        else:
            folder.mkdir(parents=True, exist_ok=True)
            config = json.loads((shared / f"{kind}.json").read_text())
            config["data_dir"] = str(folder / "data")
            (folder / "config.json").write_text(json.dumps(config))
            paths = (str(folder / "config.json"), str(folder / "found.json"))
            self.command = ("-c", PREPARE, *paths)

    def start(self, signal_after: tuple[signal.Signals, float] | None = None) -> Answer:
        """Runs the command; see `run`."""
        self.answer = run(self.command, self.environment, signal_after)
        return self.answer

    def ending(self) -> object:
        """Returns all that must not depend on a disturbance."""
        if self.kind in ("preparation", "digits"):
            return json.loads((self.folder / "found.json").read_text())
        if self.kind == "comparison":
            return self.answer.output.replace(str(self.folder.name), "")
        if self.kind == "table":
            return ending_of_evaluation(self.folder)
        is_photos = self.kind == "photos"
        return ending_of_run(self.folder / "run" if is_photos else self.folder)


_trees: dict[str, Any] = {}  # of states, once an undisturbed one has been read


def ending_of_evaluation(workdir: Path) -> dict[str, object]:
    """Returns what an evaluation ended in."""
    folder = workdir / "evaluation"
    return {
        "metrics": json.loads((folder / "metrics.json").read_text()),
        "predictions": (folder / "predictions.csv").read_text(),
        "files": sorted(path.name for path in folder.rglob("*")),
    }


def ending_of_run(workdir: Path) -> dict[str, object]:
    """Returns what a run and its evaluation ended in, without times and paths."""
    import jax
    import orbax.checkpoint as ocp

    rows = [json.loads(row) for row in (workdir / "metrics.jsonl").open()]
    steps = [p for p in (workdir / "checkpoints").iterdir() if p.name.isdigit()]
    last = max(steps, key=lambda path: int(path.name))
    # Without a tree, Orbax would need metadata that no run reads, and that may be
    # damaged. All runs of a config have the same tree.
    name = json.loads((workdir / "config.json").read_text())["data"]["name"]
    known = [_trees[name]] if name in _trees else []
    state = ocp.StandardCheckpointer().restore(last / "state", *known)
    _trees[name] = jax.tree.map(np.asarray, state)
    digest = hashlib.sha256()
    for leaf in jax.tree.leaves(state):
        digest.update(np.asarray(leaf).tobytes())
    return {
        "rows": [{k: v for k, v in row.items() if k != "seconds"} for row in rows],
        "state": digest.hexdigest(),
    } | ending_of_evaluation(workdir)


class Undisturbed(NamedTuple):
    """What undisturbed work ended in, where, and in how many seconds."""

    ending: object
    folder: Path
    seconds: float


def end_undisturbed(shared: Path, kinds: Sequence[str]) -> dict[str, Undisturbed]:
    """Does work of each kind without disturbing it.

    Args:
      shared: an empty folder, in which all is done.
      kinds: as in `Work`.
    """
    write_sets(shared)
    found = {}
    for kind in dict.fromkeys(("training", *kinds)):
        folder = shared / ENDED_IN.get(kind, f"undisturbed_{kind}")
        work = Work(kind, folder, shared)
        work.start()  # compiles
        if kind in (*RUNS, "table"):
            shutil.rmtree(folder)
        elif kind in ("preparation", "digits"):
            shutil.rmtree(folder / "data")
        started = time.monotonic()
        answer = work.start()
        seconds = time.monotonic() - started
        if answer.status:
            raise RuntimeError(f"undisturbed {kind} failed: {answer.errors}")
        found[kind] = Undisturbed(work.ending(), folder, seconds)
    return found


def write_sets(folder: Path) -> None:
    """Writes small sets of images and digits, and the configs that read them."""
    rehearsal.write("cub200", folder / "set.tgz", 4, 80, seed=0)
    data = common.localization_config("resnet50", "cub200").data.to_dict()
    data |= {"archive_path": str(folder / "set.tgz"), "stored_side": 144, "side": 128}
    (folder / "preparation.json").write_text(json.dumps(data))
    rehearsal.write("image_folder", folder / "photos", 4, 200, seed=0)
    generator = np.random.default_rng(0)
    numbers, labels = generator.standard_normal(2_000), generator.integers(0, 3, 2_000)
    lines = (f"{x + y:.4f},{y}" for x, y in zip(numbers, labels, strict=True))
    (folder / "table.csv").write_text("\n".join(["x,y", *lines, ""]))
    (folder / "idx").mkdir()
    for name, count in (("train", 600), ("t10k", 400)):
        images = generator.integers(0, 256, (count, 28, 28), np.uint8)
        labels = (np.arange(count) % 10).astype(np.uint8)
        for kind, array in (("images-idx3", images), ("labels-idx1", labels)):
            header = np.array([2048 + array.ndim, *array.shape], ">u4").tobytes()
            with gzip.open(folder / "idx" / f"{name}-{kind}-ubyte.gz", "wb") as file:
                file.write(header + array.tobytes())
    digits = {"name": "mnist", "balanced": True, "archive_dir": str(folder / "idx")}
    (folder / "digits.json").write_text(json.dumps(digits))
