"""Kills, damage and long runs: how often, and how they end.

    python benchmarks/faults.py kills [--count=200]
    python benchmarks/faults.py damage [--count=100]
    python benchmarks/faults.py memory [--epochs=200]

kills: a training, a preparation of data and an evaluation are killed by SIGKILL or
SIGTERM at random moments and started again; what they end in must equal what an
undisturbed one ends in, to the bit. damage: a random file of a checkpoint, a workdir, a
cache, records or an archive is cut, emptied, removed, or has a bit flipped; the next
start must end in the same, or say in one line what is damaged. memory: of a long run,
resident memory and open files over time. tests/test_faults.py is the short form.
"""

import hashlib
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

import common
import numpy as np
from rich.progress import Progress, track

REPOSITORY = Path(__file__).parents[1]
TRAIN = (
    "train.py",
    "--config=configs/gmm.py",
    "--config.model.hidden=(16,)",
    "--config.batch_size=4000",
    "--config.num_epochs=30",
    "--config.checkpoint_seconds=0.0",
    "--config.data.fresh=False",
)


def run(
    arguments: tuple[str, ...],
    environment: dict[str, str],
    after: float | None,
    how: int,
) -> tuple[int, str]:
    """Runs a command, killed after some seconds, if any; its status and errors."""
    process = subprocess.Popen(
        [sys.executable, *arguments],
        cwd=REPOSITORY,
        env=os.environ | environment,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    )
    if after is not None:
        try:
            process.wait(after)
        except subprocess.TimeoutExpired:
            process.send_signal(how)
    _, errors = process.communicate(timeout=300)
    return process.returncode, errors


def ending(workdir: Path) -> dict[str, object]:
    """What a run and its evaluation end in, without times and paths."""
    import jax
    import orbax.checkpoint as ocp

    rows = [json.loads(row) for row in (workdir / "metrics.jsonl").open()]
    folder = workdir / "evaluation"
    steps = [p for p in (workdir / "checkpoints").iterdir() if p.name.isdigit()]
    last = max(steps, key=lambda path: int(path.name))
    state = ocp.StandardCheckpointer().restore(last / "state")
    digest = hashlib.sha256()
    for leaf in jax.tree.leaves(state):
        digest.update(np.asarray(leaf).tobytes())
    return {
        "rows": [{k: v for k, v in row.items() if k != "seconds"} for row in rows],
        "state": digest.hexdigest(),
        "metrics": json.loads((folder / "metrics.json").read_text()),
        "predictions": (folder / "predictions.csv").read_text(),
        "files": sorted(path.name for path in folder.rglob("*")),
    }


PREPARE = """
import json, sys
from mi_classifier import cli
from mi_classifier.data import load_dataset
def main():
    config = json.loads(open(sys.argv[1]).read())
    print(json.dumps(load_dataset(config).fingerprints()), file=open(sys.argv[2], "w"))
cli.run(lambda _: main(), positional=True)
"""


class Work:
    """One kind of work: a command in a folder, and what it ends in."""

    def __init__(self, name: str, folder: Path, shared: Path) -> None:
        self.name, self.folder = name, folder
        self.environment = {"JAX_COMPILATION_CACHE_DIR": str(shared / "compiled")}
        if name == "training":
            self.command = (*TRAIN, f"--workdir={folder}")
        elif name == "evaluation":
            if not folder.exists():
                shutil.copytree(shared / "trained", folder)
                shutil.rmtree(folder / "evaluation")
            self.command = ("evaluate.py", f"--workdir={folder}")
        else:
            folder.mkdir(parents=True, exist_ok=True)
            config = json.loads((shared / "data.json").read_text())
            config["data_dir"] = str(folder / "data")
            (folder / "config.json").write_text(json.dumps(config))
            paths = (str(folder / "config.json"), str(folder / "found.json"))
            self.command = ("-c", PREPARE, *paths)

    def start(self, after: float | None = None, how: int = signal.SIGKILL) -> tuple:
        return run(self.command, self.environment, after, how)

    def ending(self) -> object:
        if self.name == "preparation":
            return json.loads((self.folder / "found.json").read_text())
        return ending(self.folder)


def share(folder: Path) -> dict[str, tuple[object, float]]:
    """Undisturbed work of each kind: what it ends in, and how long it takes."""
    from mi_classifier import recipes, rehearsal

    rehearsal.write("cub200", folder / "set.tgz", 4, 80, seed=0)
    data = recipes.localization("resnet50", "cub200", False).data.to_dict()
    data |= {"archive_path": str(folder / "set.tgz"), "stored_side": 144, "side": 128}
    (folder / "data.json").write_text(json.dumps(data))
    found = {}
    for name in ("training", "evaluation", "preparation"):
        path = folder / ("trained" if name == "training" else f"undisturbed_{name}")
        work = Work(name, path, folder)
        work.start()  # compiles
        if name == "training":
            shutil.rmtree(path)
        elif name == "preparation":
            shutil.rmtree(path / "data")
        started = time.monotonic()
        status, errors = work.start()
        assert status == 0, errors
        found[name] = work.ending(), time.monotonic() - started
    return found


def kills(count: int, seed: int) -> tuple[list[list[str]], dict[str, object]]:
    """Kills work of each kind, up to three times before it may end."""
    generator = random.Random(seed)
    outcomes: Counter[tuple[str, str]] = Counter()
    statuses: Counter[str] = Counter()
    with tempfile.TemporaryDirectory() as temporary:
        shared = Path(temporary)
        undisturbed = share(shared)
        done = trial = 0
        names = ("training", "preparation", "training", "evaluation")
        with Progress() as progress:
            bar = progress.add_task("killing", total=count)
            while done < count:
                name = names[trial % len(names)]
                trial += 1
                work = Work(name, shared / "disturbed", shared)
                expected, seconds = undisturbed[name]
                for _ in range(generator.randint(1, 3)):
                    how = generator.choice((signal.SIGKILL, signal.SIGTERM))
                    status, _ = work.start(generator.uniform(0, seconds), how)
                    statuses[f"{signal.Signals(how).name}: {status}"] += 1
                    done += 1
                status, errors = work.start()
                same = status == 0 and work.ending() == expected
                outcomes[name, "exact" if same else "NOT EXACT"] += 1
                if not same:
                    print(f"{name}: status {status}: {errors[-500:]}")
                shutil.rmtree(work.folder)
                progress.update(bar, completed=done)
    rows = [[name, how, str(n)] for (name, how), n in sorted(outcomes.items())]
    rows += [["status after", how, str(n)] for how, n in sorted(statuses.items())]
    return rows, {"kills": done, "rows": rows}


def harm(path: Path, generator: random.Random) -> str:
    """Damages a file in some way; returns which."""
    content = bytearray(path.read_bytes())
    how = generator.choice(("a bit", "cut", "emptied", "removed", "zeros"))
    if how == "removed":
        path.unlink()
        return how
    if not content:
        how = "garbage"
        content = bytearray(b"\x00garbage")
    elif how == "a bit":
        content[generator.randrange(len(content))] ^= 1 << generator.randrange(8)
    elif how == "cut":
        del content[generator.randrange(len(content)) :]
    elif how == "zeros":
        start = generator.randrange(len(content))
        end = min(start + 64, len(content))
        content[start:end] = bytes(end - start)
    else:
        content.clear()
    path.write_bytes(content)
    return how


# What is damaged, of which kind of work, below its folder (or the shared one).
TARGETS = {
    "checkpoint": ("training", "checkpoints/*/**/*"),
    "workdir": ("training", "*"),
    "cache": ("preparation", "data/decoded/**/*"),
    "records": ("preparation", "data/*/*/*/*"),
    "archive": ("preparation", ""),
}


def damage(
    count: int, seed: int, only: str
) -> tuple[list[list[str]], dict[str, object]]:
    """Damages files of each kind; how the next start answers."""
    chosen = {name: of for name, of in TARGETS.items() if only in name}
    generator = random.Random(seed)
    outcomes: Counter[tuple[str, str]] = Counter()
    with tempfile.TemporaryDirectory() as temporary:
        shared = Path(temporary)
        undisturbed = share(shared)
        folder = shared / "damaged"
        for target, (name, pattern) in chosen.items():
            expected, _ = undisturbed[name]
            source = "trained" if name == "training" else f"undisturbed_{name}"
            for _ in track(range(count), target):
                shutil.copytree(shared / source, folder)
                work = Work(name, folder, shared)
                if target == "archive":
                    shutil.rmtree(folder / "data")
                    content = json.loads((folder / "config.json").read_text())
                    path = folder / "set.tgz"
                    shutil.copy(content["archive_path"], path)
                    content["archive_path"] = str(path)
                    (folder / "config.json").write_text(json.dumps(content))
                else:
                    if target == "records":
                        shutil.rmtree(folder / "data" / "decoded")
                    files = sorted(p for p in folder.glob(pattern) if p.is_file())
                    path = generator.choice(files)
                how = harm(path, generator)
                status, errors = work.start()
                lines = errors.strip().splitlines()
                if status == 0 and work.ending() == expected:
                    outcome = "exact, warned" if "warning: " in errors else "exact"
                elif status == 2 and lines[-1].startswith("error: "):
                    outcome = "one line, status 2"
                else:
                    outcome = "SILENT" if status == 0 else f"STATUS {status}"
                    print(
                        f"{target}: {path.relative_to(folder)} {how}: {errors[-600:]}"
                    )
                outcomes[target, outcome] += 1
                shutil.rmtree(folder)
    rows = [[target, outcome, str(n)] for (target, outcome), n in outcomes.items()]
    return rows, {"rows": rows}


def memory(epochs: int) -> tuple[list[list[str]], dict[str, object]]:
    """Resident memory and open files of a long run, while it goes on."""
    steps = -(-10_000 // epochs)  # an epoch: 10,000 in all at least
    batch = 48_000 // steps
    points = []
    with tempfile.TemporaryDirectory() as folder:
        command = (
            *TRAIN[:2],
            "--config.model.hidden=(16,)",
            f"--config.batch_size={batch // 2 * 2}",
            f"--config.num_epochs={epochs}",
            "--config.steps_per_call=10",
            "--config.checkpoint_seconds=1.0",
            f"--workdir={folder}/run",
        )
        process = subprocess.Popen(
            [sys.executable, *command],
            cwd=REPOSITORY,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        log = Path(folder) / "run" / "metrics.jsonl"
        seen = 0
        while process.poll() is None:
            time.sleep(0.2)
            epoch = len(log.read_bytes().splitlines()) if log.exists() else 0
            if epoch >= seen + epochs // 10 and epoch < epochs:
                seen = epoch
                status = Path(f"/proc/{process.pid}/status").read_text()
                resident = int(status.split("VmRSS:")[1].split()[0]) / 2**10
                handles = len(list(Path(f"/proc/{process.pid}/fd").iterdir()))
                size = sum(
                    p.stat().st_size for p in log.parent.rglob("*") if p.is_file()
                )
                points.append(
                    (epoch, epoch * (48_000 // batch), resident, handles, size)
                )
        assert process.returncode == 0
    rows = [
        [
            str(epoch),
            f"{step:,}",
            f"{resident:.0f}",
            str(handles),
            f"{size / 2**20:.2f}",
        ]
        for epoch, step, resident, handles, size in points
    ]
    return rows, {"points": points}


def main() -> None:
    parser = common.parser(__doc__)
    parser.add_argument("what", choices=("kills", "damage", "memory"))
    parser.add_argument("--count", type=int, default=0)
    parser.add_argument("--only", default="", help="what to damage")
    parser.add_argument("--epochs", type=int, default=200)
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    if arguments.what == "kills":
        rows, figures = kills(arguments.count or 200, arguments.seed)
        columns = ["work", "outcome", "times"]
    elif arguments.what == "damage":
        rows, figures = damage(arguments.count or 100, arguments.seed, arguments.only)
        columns = ["damaged", "outcome", "times"]
    else:
        rows, figures = memory(arguments.epochs)
        columns = ["epoch", "step", "resident MiB", "open files", "workdir MiB"]
    common.report(arguments.what, columns, rows, figures, arguments.json)


if __name__ == "__main__":
    main()
