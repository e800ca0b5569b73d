"""Kills, damage, full disks and long runs: how often, and how they end.

    python benchmarks/faults.py kills [--count=200]
    python benchmarks/faults.py damage [--count=100] [--only=checkpoint]
    python benchmarks/faults.py full [--count=100]
    python benchmarks/faults.py memory [--epochs=200]

kills: a training, a preparation of data and an evaluation are killed by SIGKILL,
SIGTERM or SIGINT at random moments and started again; what they end in must equal what
an undisturbed one ends in, to the bit. damage: a random file of a checkpoint, a config,
an evaluation, a cache, records or an archive is cut, emptied, removed, made unreadable,
or has a bit flipped; the next start must end in the same, or say in one line what is
damaged. full: the work happens on a disk that has too little room, mounted for it
(Linux), which must be said in one line; with more room, the next start must end in the
same. memory: of a long run, resident memory and open files over time.
tests/test_faults.py is the short form.
"""

import contextlib
import gzip
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
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

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


# Root may read what nobody may read, unless it gives that up.
CAPABLE = os.geteuid() == 0
AS_USER = ("setpriv", "--bounding-set=-dac_override,-dac_read_search") * CAPABLE


class Answer(NamedTuple):
    """How a command ended."""

    status: int
    output: str
    errors: str

    def outcome(self, same: Callable[[], bool]) -> str:
        """What the answer is to what was done to the files."""
        errors = self.errors.strip().splitlines()
        lines = [line for line in errors if not line.startswith("epoch ")]  # progress
        if self.status == 0 and same():
            return "exact, warned" if "warning: " in self.errors else "exact"
        if self.status == 2 and lines and lines[-1].startswith("error: "):
            return "one line, status 2" if len(lines) == 1 else "status 2, chatty"
        return "SILENT" if self.status == 0 else f"STATUS {self.status}"


def run(
    arguments: Sequence[str],
    environment: Mapping[str, str],
    after: float | None,
    how: int,
) -> Answer:
    """Runs a command, ended by a signal after some seconds, if any."""
    process = subprocess.Popen(
        [*AS_USER, sys.executable, *arguments],
        cwd=REPOSITORY,
        env=os.environ | environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    if after is not None:
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(after)
        if process.poll() is None:
            process.send_signal(how)
    try:
        output, errors = process.communicate(timeout=300)
    except subprocess.TimeoutExpired:
        process.kill()
        return Answer(-1, "", "HANG")
    return Answer(process.returncode, output, errors)


TREE: list[object] = []  # of states, once one was read


def ending(workdir: Path) -> dict[str, object]:
    """What a run and its evaluation end in, without times and paths."""
    import jax
    import orbax.checkpoint as ocp

    rows = [json.loads(row) for row in (workdir / "metrics.jsonl").open()]
    folder = workdir / "evaluation"
    steps = [p for p in (workdir / "checkpoints").iterdir() if p.name.isdigit()]
    last = max(steps, key=lambda path: int(path.name))
    # Its tree is that of the first, which is sound: a training has one as well.
    state = ocp.StandardCheckpointer().restore(last / "state", *TREE)
    TREE[:] = [jax.tree.map(np.asarray, state)]
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
        elif name == "comparison":
            self.command = ("evaluate.py", f"--compare={folder}")
        else:
            folder.mkdir(parents=True, exist_ok=True)
            config = json.loads((shared / f"{name}.json").read_text())
            config["data_dir"] = str(folder / "data")
            (folder / "config.json").write_text(json.dumps(config))
            paths = (str(folder / "config.json"), str(folder / "found.json"))
            self.command = ("-c", PREPARE, *paths)

    def start(self, after: float | None = None, how: int = signal.SIGKILL) -> Answer:
        self.answer = run(self.command, self.environment, after, how)
        return self.answer

    def ending(self) -> object:
        if self.name in ("preparation", "digits"):
            return json.loads((self.folder / "found.json").read_text())
        if self.name == "comparison":
            return self.answer.output.replace(str(self.folder.name), "")
        return ending(self.folder)


def write_sets(folder: Path) -> None:
    """Writes small sets of images, and what to read of them."""
    from configs import common as recipes
from tools import rehearsal

    rehearsal.write("cub200", folder / "set.tgz", 4, 80, seed=0)
    data = recipes.localization("resnet50", "cub200", False).data.to_dict()
    data |= {"archive_path": str(folder / "set.tgz"), "stored_side": 144, "side": 128}
    (folder / "preparation.json").write_text(json.dumps(data))
    generator = np.random.default_rng(0)
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


# What stands where the work of each kind, undisturbed, has ended.
KEPT = {"training": "trained", "comparison": "trained"}


def share(folder: Path, names: Sequence[str]) -> dict[str, tuple[object, float]]:
    """Undisturbed work of each kind: what it ends in, and how long it takes."""
    write_sets(folder)
    found = {}
    for name in dict.fromkeys(("training", *names)):
        path = folder / KEPT.get(name, f"undisturbed_{name}")
        work = Work(name, path, folder)
        work.start()  # compiles
        if name == "training":
            shutil.rmtree(path)
        elif name in ("preparation", "digits"):
            shutil.rmtree(path / "data")
        started = time.monotonic()
        answer = work.start()
        assert answer.status == 0, answer.errors
        found[name] = work.ending(), time.monotonic() - started
    return found


def kills(count: int, seed: int) -> tuple[list[list[str]], dict[str, object]]:
    """Ends work of each kind by signals, up to three times before it may end itself."""
    generator = random.Random(seed)
    outcomes: Counter[tuple[str, str]] = Counter()
    statuses: Counter[str] = Counter()
    with tempfile.TemporaryDirectory() as temporary:
        shared = Path(temporary)
        names = ("training", "preparation", "training", "evaluation")
        undisturbed = share(shared, names)
        done = trial = 0
        with Progress() as progress:
            bar = progress.add_task("killing", total=count)
            while done < count:
                name = names[trial % len(names)]
                trial += 1
                work = Work(name, shared / "disturbed", shared)
                expected, seconds = undisturbed[name]
                for _ in range(generator.randint(1, 3)):
                    how = generator.choice(SIGNALS)
                    status = work.start(generator.uniform(0, seconds), how).status
                    statuses[f"{how.name}: {status}"] += 1
                    done += 1
                answer = work.start()
                same = answer.status == 0 and work.ending() == expected
                outcomes[name, "exact" if same else "NOT EXACT"] += 1
                if not same:
                    print(f"{name}: {answer.status}: {answer.errors[-500:]}")
                shutil.rmtree(work.folder)
                progress.update(bar, completed=done)
    rows = [[name, how, str(n)] for (name, how), n in sorted(outcomes.items())]
    rows += [["status after", how, str(n)] for how, n in sorted(statuses.items())]
    return rows, {"kills": done, "rows": rows}


SIGNALS = (signal.SIGKILL, signal.SIGTERM, signal.SIGINT)
DAMAGE = ("a bit", "cut", "emptied", "removed", "zeros", "unreadable")


def harm(path: Path, generator: random.Random) -> str:
    """Damages a file in some way; returns which."""
    content = bytearray(path.read_bytes())
    how = generator.choice(DAMAGE)
    if how == "removed":
        path.unlink()
        return how
    if how == "unreadable":
        path.chmod(0)
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


# What is damaged, of which kind of work, below its folder.
TARGETS = {
    "checkpoint": ("training", "checkpoints/*/**/*"),
    "config": ("training", "config.json"),
    "rest of the workdir": ("training", "*"),
    "evaluation": ("comparison", "evaluation/**/*"),
    "cache": ("preparation", "data/decoded/**/*"),
    "records": ("preparation", "data/*/*/*/*"),
    "archive": ("preparation", "set.tgz"),
    "idx": ("digits", "idx/*"),
}
SOURCES = {"archive": "archive_path", "idx": "archive_dir"}  # made anew from these


def bring_source(target: str, folder: Path) -> None:
    """Has data be read from a copy of its own, and be prepared from the start."""
    shutil.rmtree(folder / "data")
    config = json.loads((folder / "config.json").read_text())
    source = Path(config[SOURCES[target]])
    copied = folder / source.name
    (shutil.copytree if source.is_dir() else shutil.copy)(source, copied)
    (folder / "config.json").write_text(
        json.dumps(config | {SOURCES[target]: str(copied)})
    )


def damage(
    count: int, seed: int, only: str
) -> tuple[list[list[str]], dict[str, object]]:
    """Damages files of each kind; how the next start answers."""
    chosen = {name: of for name, of in TARGETS.items() if only in name}
    generator = random.Random(seed)
    outcomes: Counter[tuple[str, str]] = Counter()
    with tempfile.TemporaryDirectory() as temporary:
        shared = Path(temporary)
        undisturbed = share(shared, [name for name, _ in chosen.values()])
        folder = shared / "damaged"
        for target, (name, pattern) in chosen.items():
            expected, _ = undisturbed[name]
            source = shared / KEPT.get(name, f"undisturbed_{name}")
            for _ in track(range(count), target):
                shutil.copytree(source, folder)
                work = Work(name, folder, shared)
                if target in SOURCES:
                    bring_source(target, folder)
                elif target == "records":
                    shutil.rmtree(folder / "data" / "decoded")
                files = sorted(p for p in folder.glob(pattern) if p.is_file())
                path = generator.choice(files)
                how = harm(path, generator)
                answer = work.start()
                outcome = answer.outcome(lambda w=work, e=expected: w.ending() == e)
                outcomes[target, outcome] += 1
                if "one line" not in outcome and "exact" not in outcome:
                    where = path.relative_to(folder)
                    print(f"{target}: {where} {how}: {answer.errors[-600:]}")
                shutil.rmtree(folder)
    rows = [[target, outcome, str(n)] for (target, outcome), n in outcomes.items()]
    return rows, {"rows": rows}


def full(count: int, seed: int) -> tuple[list[list[str]], dict[str, object]]:
    """Fills the disk under work of each kind; how it answers, and goes on with room."""
    generator = random.Random(seed)
    outcomes: Counter[tuple[str, str]] = Counter()
    with tempfile.TemporaryDirectory() as temporary:
        shared = Path(temporary)
        names = ("training", "preparation", "evaluation")
        undisturbed = share(shared, names)
        disk = shared / "disk"
        disk.mkdir()
        for trial in track(range(count), "filling"):
            name = names[trial % len(names)]
            ended = shared / KEPT.get(name, f"undisturbed_{name}")
            written = ended / "evaluation" if name == "evaluation" else ended
            mount = ("mount", "-t", "tmpfs", "tmpfs", str(disk), "-o", f"size={2**30}")
            subprocess.run(mount, check=True)
            try:
                work = Work(name, disk / "work", shared)
                expected, _ = undisturbed[name]
                used = shutil.disk_usage(disk).used
                room = used + generator.randint(2**13, size_of(written))
                for size in (room, 2**30):
                    remount = ("mount", "-o", f"remount,size={size}", str(disk))
                    subprocess.run(remount, check=True)
                    answer = work.start()
                    outcome = answer.outcome(lambda w=work, e=expected: w.ending() == e)
                    step = "then, with room" if size > room else "with little room"
                    outcomes[f"{name}, {step}", outcome] += 1
                    if outcome not in ("one line, status 2", "exact"):
                        print(f"{name}, {room:,} bytes: {answer.errors[-900:]}")
            finally:
                subprocess.run(["umount", str(disk)], check=True)
    rows = [[what, outcome, str(n)] for (what, outcome), n in sorted(outcomes.items())]
    return rows, {"rows": rows}


def size_of(folder: Path) -> int:
    """Bytes of a folder in blocks of 4 KiB."""
    sizes = [p.stat().st_size for p in folder.rglob("*") if p.is_file()]
    return sum(-(-size // 4096) * 4096 for size in sizes)


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
    parser.add_argument("what", choices=("kills", "damage", "full", "memory"))
    parser.add_argument("--count", type=int, default=0)
    parser.add_argument("--only", default="", help="what to damage")
    parser.add_argument("--epochs", type=int, default=200)
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    # What runs in the background may have been told to ignore it, and so its children.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    if arguments.what == "kills":
        rows, figures = kills(arguments.count or 200, arguments.seed)
        columns = ["work", "outcome", "times"]
    elif arguments.what == "damage":
        rows, figures = damage(arguments.count or 100, arguments.seed, arguments.only)
        columns = ["damaged", "outcome", "times"]
    elif arguments.what == "full":
        if "MOUNTS" not in os.environ:  # in a name space of mounts that goes with us
            unshare = ("unshare", "-m" if os.geteuid() == 0 else "-rm")
            os.environ["MOUNTS"] = "private"
            os.execvp(unshare[0], [*unshare, sys.executable, *sys.argv])
        rows, figures = full(arguments.count or 100, arguments.seed)
        columns = ["disk", "outcome", "times"]
    else:
        rows, figures = memory(arguments.epochs)
        columns = ["epoch", "step", "resident MiB", "open files", "workdir MiB"]
    common.report(arguments.what, columns, rows, figures, arguments.json)


if __name__ == "__main__":
    main()
