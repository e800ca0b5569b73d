"""Fuzz the readers of files: each must read a file or raise a UserError.

    pip install atheris && python benchmarks/fuzz.py [--seconds=60] [--only=idx]

Each reader runs in a process of its own. libFuzzer (atheris), guided by coverage,
changes files that are in order. It reports any exception but ValueError, of which
UserError is one, a crash of the interpreter, more than 2 GiB of memory, and ten seconds
without an answer.
"""

import contextlib
import gzip
import importlib
import io
import re
import subprocess
import sys
import tarfile
import tempfile
import zipfile
from collections.abc import Callable
from pathlib import Path

import common
import numpy as np
import openpyxl
import pyarrow as pa
import pyarrow.parquet as pq
from PIL import Image
from pyarrow import feather


def archives() -> list[bytes]:
    """Returns tar and zip archives of two members, one for each compression."""
    made = []
    for mode in ("w", "w:gz", "w:bz2", "w:xz"):
        file = io.BytesIO()
        with tarfile.open(fileobj=file, mode=mode) as archive:
            for name, content in (("set/a.txt", b"one"), ("set/deep/b.bin", b"two")):
                member = tarfile.TarInfo(name)
                member.size = len(content)
                archive.addfile(member, io.BytesIO(content))
        made.append(file.getvalue())
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("set/a.txt", b"one" * 20)
        archive.writestr("set/deep/b.bin", b"two")
    return [*made, file.getvalue()]


def idx_files() -> list[bytes]:
    """Returns idx files of labels and images, gzipped and not."""
    images = np.array([2051, 2, 28, 28], ">u4").tobytes() + bytes(2 * 28 * 28)
    labels = np.array([2049, 3], ">u4").tobytes() + bytes([1, 2, 3])
    return [images, labels, gzip.compress(images), gzip.compress(labels)]


def images() -> list[bytes]:
    """Returns a small picture in several formats."""
    picture = Image.fromarray(np.arange(192, dtype=np.uint8).reshape(8, 8, 3))
    made = []
    for kind in ("png", "jpeg", "gif", "bmp", "webp", "tiff"):
        file = io.BytesIO()
        picture.save(file, kind)
        made.append(file.getvalue())
    return made


def tables() -> list[bytes]:
    """Returns files of comma-separated values."""
    return [b"a,b,y\n1,2,x\n3,4,z\n", b"1,2\n3,4\n", '"\u00fc",y\n1,"a\nb"\n'.encode()]


def compressed_tables() -> list[bytes]:
    """Returns gzipped files of comma-separated values."""
    return [gzip.compress(content) for content in tables()]


def frames(write: Callable[[pa.Table, io.BytesIO], None]) -> list[bytes]:
    """Returns files of a table of Arrow's, with words, dates, gaps and numbers."""
    columns = {
        "word": pa.array(["a", "b", None]).dictionary_encode(),
        "day": pa.array([0, 1, None], pa.date32()),
        "number": [1.5, 2.5, None],
        "count": [1, None, 3],
        "y": ["u", "v", "u"],
    }
    made = []
    for table in (pa.table(columns), pa.table({"x": [1, 2], "y": ["a", "b"]})):
        file = io.BytesIO()
        write(table, file)
        made.append(file.getvalue())
    return made


def workbooks() -> list[bytes]:
    """Returns an .xlsx file."""
    file, book = io.BytesIO(), openpyxl.Workbook()
    for row in (["a", "b", "y"], [1, 2.5, "x"], [3, None, "z"]):
        book.active.append(row)
    book.save(file)
    return [file.getvalue()]


def npz_files() -> list[bytes]:
    """Returns .npz files of inputs and labels, compressed and not."""
    made = []
    for save in (np.savez, np.savez_compressed):
        file = io.BytesIO()
        save(file, x=np.zeros((3, 2), np.float32), y=np.array(["a", "b", "a"]))
        made.append(file.getvalue())
    return made


def feature_files() -> list[bytes]:
    """Returns an .npz file of features, a head's kernel and labels."""
    file = io.BytesIO()
    features = np.zeros((4, 2, 2, 3), np.float32)
    labels = np.array([0, 1, 0, 1])
    np.savez(file, features=features, head_kernel=np.eye(3, 2), labels=labels)
    return [file.getvalue()]


def weights() -> list[bytes]:
    """Returns .pth files of both formats."""
    from tests.models.test_torch_files import save, tensor_of

    call, storage = tensor_of(np.ones(3, np.float32))
    with tempfile.TemporaryDirectory() as folder:
        paths = [
            save(Path(folder) / f"{older}.pth", {"a.bias": call}, [storage], older)
            for older in (False, True)
        ]
        return [Path(path).read_bytes() for path in paths]


def reader(name: str) -> Callable[[bytes], object]:
    """Returns a function that reads the content of a file of one kind."""
    ours = {name: importlib.import_module(module) for name, module in OURS.items()}
    memory = "/dev/shm" if Path("/dev/shm").is_dir() else None
    path = Path(tempfile.mkdtemp(dir=memory)) / f"file.{name}"

    def of_file(read: Callable[[Path], object]) -> Callable[[bytes], object]:
        def check(content: bytes) -> None:
            path.write_bytes(content)
            read(path)

        return check

    if name == "archive":
        return of_file(lambda p: list(ours["archive"].read_members(p, "set", bool)))
    if name == "idx":
        names = ours["mnist_archive"].FILES["train"]

        def both(path: Path) -> None:
            for each in names:
                with contextlib.suppress(ValueError):
                    ours["mnist_archive"]._read_idx(path, each)

        return of_file(both)
    if name == "image":
        return lambda content: ours["decoding"].decode(content, 16)
    if name == "pth":
        return of_file(ours["weight_files"].read)
    if name == "features":
        return of_file(ours["exported"].read)
    return of_file(lambda p: ours["arrays"].load(str(p)))


SEEDS = {
    "archive": archives,
    "idx": idx_files,
    "image": images,
    "csv": tables,
    "csv.gz": compressed_tables,
    "parquet": lambda: frames(pq.write_table),
    "feather": lambda: frames(feather.write_feather),
    "xlsx": workbooks,
    "npz": npz_files,
    "features": feature_files,
    "pth": weights,
}


OURS = {
    name: f"mi_classifier.data.{name}"
    for name in ("archive", "arrays", "exported", "mnist_archive")
}
OURS["decoding"] = "mi_classifier.decoding"
OURS["torch_files"] = "mi_classifier.models.torch_files"
OURS["weight_files"] = "mi_classifier.models.weight_files"
INSTRUMENTED = ("tarfile", "zipfile", "gzip", "PIL", "openpyxl", *OURS.values())


def fuzz(name: str, options: list[str]) -> None:
    """Fuzzes a reader; never returns, because libFuzzer ends the process."""
    import atheris

    for module in [m for m in sys.modules if m.startswith(INSTRUMENTED)]:
        del sys.modules[module]  # so that it is imported again, instrumented
    with atheris.instrument_imports(include=INSTRUMENTED):
        read = reader(name)

    def one(content: bytes) -> None:
        with contextlib.suppress(ValueError):  # UserError is one
            read(content)

    atheris.Setup([name, *options], one)
    atheris.Fuzz()


def main() -> None:
    parser = common.parser(__doc__)
    parser.add_argument("--seconds", type=int, default=60, help="for each reader")
    parser.add_argument("--only", default="", help="one of the readers")
    arguments = parser.parse_args()
    rows, results = [], {}
    for name, seeds in SEEDS.items():
        if arguments.only not in name:
            continue
        with tempfile.TemporaryDirectory() as folder:
            corpus = Path(folder) / "corpus"
            corpus.mkdir()
            for i, content in enumerate(seeds()):
                (corpus / str(i)).write_bytes(content)
            command = (
                f"import fuzz; fuzz.fuzz({name!r}, {[str(corpus)]!r} + fuzz.LIMITS"
            )
            command += f" + ['-max_total_time={arguments.seconds}',"
            command += f" '-artifact_prefix={folder}/'])"
            done = subprocess.run(
                [sys.executable, "-c", command],
                check=False,
                capture_output=True,
                text=True,
                errors="replace",
                cwd=Path(__file__).parent,
            )
        log = done.stderr + done.stdout
        tried = re.findall(r"number_of_executed_units: (\d+)", log)
        found = "nothing" if done.returncode == 0 else log[-1500:]
        results[name] = {"inputs": int(tried[0]) if tried else None, "found": found}
        rows.append([name, f"{int(tried[0]):,}" if tried else "", found.strip()[-300:]])
        if done.returncode:
            print(f"{name}: {found}")
    columns = ["reader", "inputs tried", "found"]
    common.report("fuzz", columns, rows, results, arguments.json)


LIMITS = ["-rss_limit_mb=2048", "-timeout=10", "-print_final_stats=1", "-verbosity=0"]


if __name__ == "__main__":
    main()
