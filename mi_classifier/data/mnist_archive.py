"""Read, check and download MNIST's four idx files."""

import gzip
import hashlib
import math
import struct
import zlib
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from mi_classifier.data import download
from mi_classifier.data.dataset import Split
from mi_classifier.errors import UserError

MIRRORS = (
    "https://storage.googleapis.com/cvdf-datasets/mnist/",
    "https://ossci-datasets.s3.amazonaws.com/mnist/",
)
FILES = {
    "train": ("train-images-idx3-ubyte", "train-labels-idx1-ubyte"),
    "test": ("t10k-images-idx3-ubyte", "t10k-labels-idx1-ubyte"),
}
_NAMES = [name for pair in FILES.values() for name in pair]
_HASHES = (  # of the uncompressed content, which is the same on all mirrors
    "ba891046e6505d7aadcbbe25680a0738ad16aec93bde7f9b65e87a2fc25776db",
    "65a50cbbf4e906d70832878ad85ccda5333a97f0f4c3dd2ef09a8a9eef7101c5",
    "0fa7898d509279e482958e8ce81c8e77db3f2f8254e26661ceb7762c4d494ce7",
    "ff7bcfd416de33731a308c3f266cc351222c34898ecbeaf847f06e48f7ec33f2",
)
SHA256 = dict(zip(_NAMES, _HASHES, strict=True))
SIDE = 28  # pixels
_KINDS = {2051: "images", 2049: "labels"}  # by the first number of an idx file


def read(directory: Path) -> tuple[dict[str, Split], str]:
    """Read and check the four files, each gzipped or not.

    The result is "train" and "test", with "image" uint8 `[N, 28, 28, 1]` and "label"
    uint8 `[N]`, and a name for their content, "standard" for MNIST itself.
    """
    if not directory.is_dir():
        what = "is a file, not a folder" if directory.exists() else "does not exist"
        raise UserError(f"data.archive_dir: {directory} {what}")
    archive, digests = {}, {}
    for split, names in FILES.items():
        paths = [_find(directory, name) for name in names]
        images, digests[paths[0]] = _read_idx(paths[0], names[0])
        labels, digests[paths[1]] = _read_idx(paths[1], names[1])
        archive[split] = {"image": images[..., None], "label": labels}
        if images.shape[1:] != (SIDE, SIDE):
            raise UserError(f"{paths[0]}: images of {images.shape[1:]}, not (28, 28)")
        if len(images) != len(labels):
            raise UserError(
                f"{paths[0]} holds {len(images)} images but {paths[1].name} "
                f"{len(labels)} labels: are files of two sets mixed or swapped?"
            )
        if not labels.size:
            raise UserError(f"{paths[0]}: holds no image")
        if labels.max() > 9:
            raise UserError(f"{paths[1]}: label {labels.max()} is not a digit")
    if len(archive["train"]["label"]) < len(archive["test"]["label"]):
        raise UserError(
            f"{directory}: the train files hold fewer images than the t10k files: "
            "are they swapped?"
        )
    known = SHA256.values()
    strange = [path for path, digest in digests.items() if digest not in known]
    if not strange:
        return archive, "standard"
    if others := len(digests) - len(strange):
        raise UserError(
            f"{strange[0]}: damaged or of another set; {others} files beside it are "
            "MNIST's"
        )
    return archive, hashlib.sha256("".join(digests.values()).encode()).hexdigest()[:12]


def _find(directory: Path, name: str) -> Path:
    # Archives of some mirrors unpack to train-images.idx3-ubyte.
    for stem in (name, name.replace("-idx", ".idx")):
        for path in (directory / stem, directory / f"{stem}.gz"):
            if path.is_file():
                return path
    raise UserError(f"{directory}: {name}.gz (or {name}) is missing")


def _read_idx(path: Path, name: str) -> tuple[np.ndarray, str]:
    # http://yann.lecun.com/exdb/mnist/ describes the format.
    kind = "images" if "images" in name else "labels"
    dims = 3 if kind == "images" else 1
    try:
        with path.open("rb") as file:
            zipped = file.read(2) == b"\x1f\x8b"
        with gzip.open(path) if zipped else path.open("rb") as file:
            header = file.read(4 + 4 * dims)
            if len(header) < 4 + 4 * dims:
                raise UserError(f"{path}: truncated: no header")
            magic, *shape = struct.unpack(f">{1 + dims}I", header)
            if (held := _KINDS.get(magic)) != kind:
                hint = f", it holds {held}: swapped?" if held else ""
                raise UserError(f"{path}: not an idx file of {kind}{hint}")
            size = math.prod(shape)
            if size > 1 << 30 or max(shape) > 1 << 30:
                raise UserError(f"{path}: damaged: the header announces {size} bytes")
            content = file.read(size + 1)
    except (OSError, EOFError, zlib.error) as error:
        raise UserError(f"{path}: truncated or damaged: {error}") from error
    if len(content) != size:
        problem = "truncated" if len(content) < size else "damaged, or too long"
        raise UserError(f"{path}: {problem}: its header announces {size} bytes")
    array = np.frombuffer(content, np.uint8).reshape(shape)
    digest = checksum(array)
    for other, known in SHA256.items():
        if other != name and digest == known:
            raise UserError(f"{path}: holds the content of {other}: swapped?")
    return array, digest


def checksum(array: np.ndarray) -> str:
    """Return the SHA-256 of an uncompressed idx file that holds `array`."""
    header = np.array([2048 + array.ndim, *array.shape], ">u4")
    whole = hashlib.sha256(header.tobytes())
    whole.update(np.ascontiguousarray(array))
    return whole.hexdigest()


def fetch(directory: Path, mirrors: Sequence[str]) -> None:
    """Download the four files, gzipped, and check their content."""
    names = [f"{name}.gz" for name in _NAMES]
    remedy = (
        f"MNIST: put {', '.join(names)} into a folder and pass "
        "--config.data.archive_dir=FOLDER"
    )
    download.fetch(names, mirrors, directory, _check_content, remedy)


def _check_content(path: Path, name: str) -> None:
    stem = name.removesuffix(".gz")
    try:
        with gzip.open(path) as file:
            digest = hashlib.file_digest(file, "sha256").hexdigest()
    except (OSError, EOFError, zlib.error) as error:
        raise UserError(f"{name}: not a gzip file: {error}") from error
    if digest != SHA256[stem]:
        raise UserError(f"{name}: its content is not MNIST's (sha256 {digest[:12]}...)")
