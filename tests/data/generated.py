"""Generated image sets: how to load them, and how to damage their archives."""

import tarfile
import zipfile

from mi_classifier.data import load_dataset
from tests.data.test_archive import write_tar, write_zip

CONFIGS = {
    "cub200": {"name": "cub200", "stored_side": 72, "side": 64},
    "tiny_imagenet": {"name": "tiny_imagenet", "side": 64},
    "image_folder": {"name": "image_folder", "stored_side": 72, "side": 64},
}


PATHS = {
    "cub200": "archive_path",
    "tiny_imagenet": "archive_path",
    "image_folder": "root_dir",
}


def load(layout, path, data_dir, **options):
    config = CONFIGS[layout] | {PATHS[layout]: str(path), "data_dir": str(data_dir)}
    return load_dataset(config | {"normalization": "imagenet"} | options)


def rewrite(source, target, change):
    """Copies an archive through `change`, from a dict of members to another."""
    if source.suffix == ".zip":
        with zipfile.ZipFile(source) as archive:
            files = {n: archive.read(n) for n in archive.namelist()}
        return write_zip(target, change(files))
    with tarfile.open(source) as archive:
        files = {m.name: archive.extractfile(m).read() for m in archive}
    return write_tar(target, change(files))


def edit(member, old, new):
    def change(files):
        (name,) = [n for n in files if n.endswith(member)]
        assert old in files[name]
        return files | {name: files[name].replace(old, new, 1)}

    return change


def drop(part):
    return lambda files: {n: c for n, c in files.items() if part not in n}
