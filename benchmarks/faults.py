"""Disturb training, evaluation and data preparation, and count how they end.

    python benchmarks/faults.py kills [--count=200] [--only=photos]
    python benchmarks/faults.py damage [--count=100] [--only=checkpoint]
    python benchmarks/faults.py full [--count=100]
    python benchmarks/faults.py memory [--epochs=200]

kills: SIGKILL, SIGTERM or SIGINT ends the work at random moments, and it is started
again. It must end in the same bits as undisturbed work.

damage: a file of a checkpoint, a config, an evaluation, a cache, records or an archive
is cut, emptied, removed, made unreadable, or has a bit flipped. The next start must
either end in the same, or name the damage in one line.

full: the work is done on a disk with too little room, which is mounted for it (Linux).
One line must say so. With more room, the next start must end in the same.

memory: a long training reports its resident memory and open files over time.

tests/test_faults.py is the short form.
"""

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
from fault_work import TRAIN, Work, end_undisturbed

from mi_classifier.progress import Progress, tracked

SIGNALS = (signal.SIGKILL, signal.SIGTERM, signal.SIGINT)
DAMAGE = ("a bit", "cut", "emptied", "removed", "zeros", "unreadable")
# Files to damage: the kind of work that reads them, and a pattern in its folder.
TARGETS = {
    "checkpoint": ("training", "checkpoints/*/**/*"),
    "config": ("training", "config.json"),
    "classes": ("training", "classes.json"),
    "features": ("photos", "data/features/**/*"),
    "estimate": ("table", "*"),
    "rest of the workdir": ("training", "*"),
    "evaluation": ("comparison", "evaluation/**/*"),
    "cache": ("preparation", "data/decoded/**/*"),
    "records": ("preparation", "data/*/*/*/*"),
    "archive": ("preparation", "set.tgz"),
    "idx": ("digits", "idx/*"),
}
# The work that is killed, in turn.
KILLED = (
    *("training", "preparation", "training", "evaluation"),
    *("long epochs", "photos", "notebook", "table"),
)
# For these targets, the data are prepared anew from a damaged copy of their source:
# the config's field that names it.
SOURCES = {"archive": "archive_path", "idx": "archive_dir"}
Rows = list[list[str]]


def kills(count: int, seed: int, only: str) -> Rows:
    """Ends work by signals, each piece up to three times before it may finish."""
    generator = random.Random(seed)
    outcomes: Counter[tuple[str, str]] = Counter()
    statuses: Counter[str] = Counter()
    kinds = [kind for kind in KILLED if only in kind]
    with tempfile.TemporaryDirectory() as temporary:
        shared = Path(temporary)
        undisturbed = end_undisturbed(shared, kinds)
        sent = trial = 0
        with Progress("sending signals", total=count) as progress:
            while sent < count:
                kind = kinds[trial % len(kinds)]
                trial += 1
                work = Work(kind, shared / "disturbed", shared)
                expected = undisturbed[kind]
                times = generator.randint(1, 3)
                for _ in range(times):
                    how = generator.choice(SIGNALS)
                    seconds = generator.uniform(0, expected.seconds)
                    status = work.start((how, seconds)).status
                    statuses[f"{how.name}: {status}"] += 1
                sent += times
                progress.advance(times)
                answer = work.start()
                exact = answer.status == 0 and work.ending() == expected.ending
                outcomes[kind, "exact" if exact else "NOT EXACT"] += 1
                if not exact:
                    print(f"{kind}: {answer.status}: {answer.errors[-500:]}")
                shutil.rmtree(work.folder)
    rows = [[kind, outcome, str(n)] for (kind, outcome), n in sorted(outcomes.items())]
    return rows + [["status after", how, str(n)] for how, n in sorted(statuses.items())]


def harm(path: Path, generator: random.Random) -> str:
    """Damages a file in a random way, and returns which."""
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


def copy_source(target: str, folder: Path) -> None:
    """Makes work prepare its data anew, from a copy of their source in its folder."""
    shutil.rmtree(folder / "data")
    path = folder / "config.json"
    config = json.loads(path.read_text())
    source = Path(config[SOURCES[target]])
    copied = folder / source.name
    (shutil.copytree if source.is_dir() else shutil.copy)(source, copied)
    path.write_text(json.dumps(config | {SOURCES[target]: str(copied)}))


def damage(count: int, seed: int, only: str) -> Rows:
    """Damages files of each target, and starts the work that reads them."""
    chosen = {target: found for target, found in TARGETS.items() if only in target}
    generator = random.Random(seed)
    outcomes: Counter[tuple[str, str]] = Counter()
    with tempfile.TemporaryDirectory() as temporary:
        shared = Path(temporary)
        undisturbed = end_undisturbed(shared, [kind for kind, _ in chosen.values()])
        folder = shared / "damaged"
        for target, (kind, pattern) in chosen.items():
            expected = undisturbed[kind]
            for _ in tracked(range(count), target):
                shutil.copytree(expected.folder, folder)
                work = Work(kind, folder, shared)
                if target in SOURCES:
                    copy_source(target, folder)
                elif target == "records":  # without the cache, the records are read
                    shutil.rmtree(folder / "data" / "decoded")
                files = sorted(p for p in folder.glob(pattern) if p.is_file())
                path = generator.choice(files)
                how = harm(path, generator)
                answer = work.start()
                outcome = answer.outcome(
                    lambda work=work, expected=expected: (
                        work.ending() == expected.ending
                    )
                )
                outcomes[target, outcome] += 1
                if "one line" not in outcome and "exact" not in outcome:
                    where = path.relative_to(folder)
                    print(f"{target}: {where} {how}: {answer.errors[-600:]}")
                shutil.rmtree(folder)
    return [[target, outcome, str(n)] for (target, outcome), n in outcomes.items()]


def full(count: int, seed: int) -> Rows:
    """Does work on a disk that fills up, and again with more room."""
    generator = random.Random(seed)
    outcomes: Counter[tuple[str, str]] = Counter()
    kinds = ("training", "preparation", "evaluation")
    with tempfile.TemporaryDirectory() as temporary:
        shared = Path(temporary)
        undisturbed = end_undisturbed(shared, kinds)
        disk = shared / "disk"
        disk.mkdir()
        for trial in tracked(range(count), "filling the disk"):
            kind = kinds[trial % len(kinds)]
            expected = undisturbed[kind]
            written = expected.folder
            if kind == "evaluation":
                written /= "evaluation"
            mount = ("mount", "-t", "tmpfs", "tmpfs", str(disk), "-o", f"size={2**30}")
            subprocess.run(mount, check=True)
            try:
                work = Work(kind, disk / "work", shared)
                used = shutil.disk_usage(disk).used
                room = used + generator.randint(2**13, size_of(written))
                for size in (room, 2**30):
                    remount = ("mount", "-o", f"remount,size={size}", str(disk))
                    subprocess.run(remount, check=True)
                    answer = work.start()
                    outcome = answer.outcome(
                        lambda work=work, expected=expected: (
                            work.ending() == expected.ending
                        )
                    )
                    step = "then, with room" if size > room else "with little room"
                    outcomes[f"{kind}, {step}", outcome] += 1
                    if outcome not in ("one line, status 2", "exact"):
                        print(f"{kind}, {room:,} bytes: {answer.errors[-900:]}")
            finally:
                subprocess.run(["umount", str(disk)], check=True)
    return [[what, outcome, str(n)] for (what, outcome), n in sorted(outcomes.items())]


def size_of(folder: Path) -> int:
    """Returns the bytes that a folder takes in blocks of 4 KiB."""
    sizes = [p.stat().st_size for p in folder.rglob("*") if p.is_file()]
    return sum(-(-size // 4096) * 4096 for size in sizes)


def memory(epochs: int) -> Rows:
    """Measures a training of at least 20,000 steps while it goes on, ten times."""
    examples = 48_000  # of the mixture's training split
    batch = examples // -(-20_000 // epochs) // 2 * 2  # divides into two microbatches
    rows, seen = [], 0
    with tempfile.TemporaryDirectory() as folder:
        command = (
            *TRAIN[:3],
            f"--config.batch_size={batch}",
            f"--config.num_epochs={epochs}",
            "--config.steps_per_call=10",
            "--config.checkpoint_seconds=1.0",
            f"--workdir={folder}/run",
        )
        process = subprocess.Popen(
            [sys.executable, *command],
            cwd=common.REPOSITORY,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
        )
        log = Path(folder) / "run" / "metrics.jsonl"
        while process.poll() is None:
            time.sleep(0.2)
            epoch = len(log.read_bytes().splitlines()) if log.exists() else 0
            if not seen + max(epochs // 10, 1) <= epoch < epochs:
                continue
            seen = epoch
            status = Path(f"/proc/{process.pid}/status").read_text()
            resident = int(status.split("VmRSS:")[1].split()[0]) / 2**10
            files = len(list(Path(f"/proc/{process.pid}/fd").iterdir()))
            size = sum(p.stat().st_size for p in log.parent.rglob("*") if p.is_file())
            row = [f"{epoch}", f"{epoch * (examples // batch):,}", f"{resident:.0f}"]
            rows.append([*row, f"{files}", f"{size / 2**20:.2f}"])
        if process.returncode:
            raise RuntimeError(process.stderr.read())
    return rows


def main() -> None:
    parser = common.parser(__doc__)
    parser.add_argument("what", choices=("kills", "damage", "full", "memory"))
    parser.add_argument("--count", type=int, default=0)
    parser.add_argument("--only", default="", help="what to damage or kill")
    parser.add_argument("--epochs", type=int, default=200)
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    # A background process may have been told to ignore SIGINT; children inherit that.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    if arguments.what == "kills":
        rows = kills(arguments.count or 200, arguments.seed, arguments.only)
        columns = ["work", "outcome", "times"]
    elif arguments.what == "damage":
        rows = damage(arguments.count or 100, arguments.seed, arguments.only)
        columns = ["damaged", "outcome", "times"]
    elif arguments.what == "full":
        if "MOUNTS" not in os.environ:  # restart where mounts vanish with the process
            unshare = ("unshare", "-m" if os.geteuid() == 0 else "-rm")
            os.environ["MOUNTS"] = "private"
            os.execvp(unshare[0], [*unshare, sys.executable, *sys.argv])
        rows = full(arguments.count or 100, arguments.seed)
        columns = ["disk", "outcome", "times"]
    else:
        rows = memory(arguments.epochs)
        columns = ["epoch", "step", "resident MiB", "open files", "workdir MiB"]
    results = [dict(zip(columns, row, strict=True)) for row in rows]
    common.report(arguments.what, columns, rows, results, arguments.json)


if __name__ == "__main__":
    main()
