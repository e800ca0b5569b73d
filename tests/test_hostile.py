"""What others hand over does no harm: no program starts, nothing is written elsewhere.

Also: names of others do not reach a terminal as codes, or a spreadsheet as formulas.
Weights are in models/, PostScript in test_decoding.py.
"""

import gzip
import io
import os
import subprocess
import sys
import tarfile
import zipfile

import numpy as np
import openpyxl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import mi_classifier as mi
from mi_classifier.data import arrays, boxed_sets, cub200, exported, room, tfds_store
from mi_classifier.data.archive import read_members
from mi_classifier.errors import UserError
from mi_classifier.models import weight_files
from mi_classifier.reporting.predictions import to_csv
from mi_classifier.storage import files, workdirs
from mi_classifier.text import guarded, printable
from tests.conftest import REPOSITORY, script_environment


def test_a_data_set_that_names_a_module_does_not_have_it_imported(tmp_path):
    folder = tmp_path / "1.0.0"
    folder.mkdir()
    (folder / "dataset_info.json").write_text("{}")
    made = tmp_path / "made by code"
    (tmp_path / "evil.py").write_text(f"open({str(made)!r}, 'w')")
    for name in ("pythonClassName", "python_class_name", "python\\u0043lassName"):
        text = f'{{"{name}": "evil.Feature"}}'
        (folder / "features.json").write_text(text)
        with pytest.raises(UserError, match=r"names evil\.Feature, which"):
            tfds_store.find([folder], "a set")
    assert not made.exists()


@pytest.mark.parametrize("name", ["evaluation", "checkpoints", "evaluation/figures"])
def test_links_out_of_a_workdir_are_refused(tmp_path, name):
    workdir, theirs = tmp_path / "run", tmp_path / "precious"
    (workdir / name).parent.mkdir(parents=True)
    theirs.mkdir()
    (workdir / name).symlink_to(theirs)
    files.write_hashed(workdir / "config.json", "{}")
    with pytest.raises(
        UserError, match=f"{name}: a link that leads out of the workdir"
    ):
        workdirs.load_config(workdir)


def test_a_link_in_place_of_a_temporary_file_is_not_followed(tmp_path):
    path, victim = tmp_path / "table.csv", tmp_path / "victim"
    victim.write_text("precious")
    short = files.hash_text(path.name)[:16]
    (tmp_path / f".{short}.{os.getpid()}{files.TEMPORARY}").symlink_to(victim)
    files.write_text(path, "new")
    assert victim.read_text() == "precious"
    assert path.read_text() == "new" and not path.is_symlink()


def sparse_tar(path, kind):
    with tarfile.open(path, "w") as archive:
        member = tarfile.TarInfo("root/a.txt")
        if kind == "pax":
            member.pax_headers = {"GNU.sparse.major": "1", "GNU.sparse.minor": "0"}
            content = b"999999999\n" + bytes(512)
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))
        elif kind == "old":
            member.type = tarfile.GNUTYPE_SPARSE
            archive.addfile(member)
        else:
            text = b"x" * 200_000
            header = b"%d comment=%s\n" % (len(text) + 16, text)
            member = tarfile.TarInfo("header")
            member.type, member.size = tarfile.XGLTYPE, len(header)
            archive.addfile(member, io.BytesIO(header))


@pytest.mark.parametrize(
    ("kind", "words"),
    [("pax", "sparse"), ("old", "sparse"), ("global", "a global header of")],
)
def test_tar_members_that_fill_the_memory_are_refused(tmp_path, kind, words):
    path = tmp_path / "a.tar"
    sparse_tar(path, kind)
    with pytest.raises(UserError, match=words):
        list(read_members(path, "root", lambda name: True))


def test_a_file_of_a_folder_that_is_too_large_is_not_read(tmp_path):
    with (tmp_path / "a.jpg").open("wb") as file:
        file.truncate(1 << 40)  # takes no room on the disk
    with pytest.raises(UserError, match="refused, because it has 1099511627776 bytes"):
        list(read_members(tmp_path, "root", lambda name: True))


def test_texts_that_fill_the_memory_are_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(boxed_sets, "_MOST_TEXT", 10)
    (tmp_path / "classes.txt").write_text("1 a\n" * 10)
    with pytest.raises(UserError, match="its texts have more than 40 bytes"):
        boxed_sets.read_texts(cub200.OFFICIAL, tmp_path)


def test_one_far_cell_does_not_fill_the_memory(tmp_path, monkeypatch):
    book = openpyxl.Workbook()
    for row in (["a", "y"], *([i, "no" if i % 2 else "yes"] for i in range(40))):
        book.active.append(row)
    path = tmp_path / "t.xlsx"
    book.save(path)
    assert len(arrays.load(path, "y")[0]) == 40
    monkeypatch.setattr(arrays, "_MOST_CELLS", 81)
    with pytest.raises(UserError, match="more than 81 cells; save it as"):
        arrays.load(path, "y")


@pytest.mark.parametrize(
    "text", ["=1", "+1+1", "@SUM(1)", "\t=1", "\n=1", "\uff1d1", "x;=1", "x; -a"]
)
def test_text_that_a_spreadsheet_would_run_is_guarded(text):
    for part in guarded(text).split(";"):
        assert not part.lstrip().startswith(("=", "+", "-", "@", "\uff1d"))
    assert guarded(text) in to_csv({"label": [text]}).replace('"', "")


def test_numbers_and_plain_words_are_written_as_they_are():
    assert to_csv({"x": [-1.5, -2], "-1": ["-3", "a;b"]}) == "x,-1\n-1.5,-3\n-2,a;b\n"


def test_codes_of_terminals_do_not_reach_one(capsys):
    code = "\x1b]0;owned\x07\x1b[2J"
    assert "\x1b" not in str(UserError(f"{code}/9.png: cannot be decoded"))
    features = np.random.default_rng(0).random((40, 2, 2, 3), np.float32)
    labels = np.arange(40) % 2
    names = [f"{code}red", "blue"]
    mi.evaluate_features(features, np.eye(3, 2), labels, class_names=names)
    printed = capsys.readouterr()
    assert "red" in printed.out
    assert "\x1b]0" not in printed.out + printed.err
    assert printable(code) == r"\x1b]0;owned\x07\x1b[2J"


def test_names_of_classes_have_an_end():
    features = np.zeros((4, 1, 1, 2), np.float32)
    with pytest.raises(UserError, match="has 2,000 characters; give at most 1,000"):
        mi.evaluate_features(
            features,
            np.eye(2),
            [0, 1, 0, 1],
            class_names=["a" * 2_000, "b"],
            quiet=True,
        )


@pytest.mark.parametrize("read", [lambda p: arrays.load(p, "y"), exported.read])
def test_files_in_an_npz_that_are_no_arrays_are_refused(tmp_path, read):
    path = tmp_path / "t.npz"
    with zipfile.ZipFile(path, "w") as archive:
        for name in ("x", "y", "features", "head_kernel", "labels"):
            archive.writestr(f"{name}.npy", b"no array")
    with pytest.raises(UserError, match=r"is no array|has no array|unknown array"):
        read(path)


def test_text_that_is_none_is_refused(tmp_path):
    y = np.array(["a", "b"] * 20)
    y.view(np.uint32)[0] = 0x7FFFFFFF
    np.savez(tmp_path / "t.npz", x=np.zeros((40, 2)), y=y)
    with pytest.raises(UserError, match="'y' holds no text; damaged"):
        arrays.load(tmp_path / "t.npz", "y")


def test_a_zip_archive_with_a_damaged_end_is_told(tmp_path):
    path = tmp_path / "w.pth"
    locator = b"PK\6\7" + bytes(4) + bytes(8) + (9).to_bytes(4, "little")
    path.write_bytes(b"PK\3\4" + locator + b"PK\5\6" + bytes(18))
    with pytest.raises(UserError, match="cannot be read as weights"):
        weight_files.read(path)


def test_json_that_is_nested_too_deeply_is_refused(tmp_path):
    (tmp_path / "data.json").write_text("[" * 200_000)
    with pytest.raises(UserError, match="cannot be read"):
        files.read_json(tmp_path / "data.json", "restore it")


def run(*arguments, **options):
    return subprocess.run(
        [sys.executable, "-m", "mi_classifier", *map(str, arguments)],
        cwd=options.pop("cwd", REPOSITORY),
        env=script_environment(1) | options.pop("env", {}),
        timeout=120,
        check=False,
        **options,
    )


@pytest.fixture(scope="module")
def table(tmp_path_factory):
    path = tmp_path_factory.mktemp("table") / "t.csv"
    rows = [f"{i % 7},{'no' if i % 2 else 'yes'}" for i in range(200)]
    path.write_text("\n".join(["a,y", *rows, ""]))
    return path


@pytest.mark.slow
def test_a_reader_that_leaves_costs_no_result(table, tmp_path):
    read, write = os.pipe()
    os.close(read)
    workdir = tmp_path / "run"
    done = run(
        *("estimate", table, "--labels=y", f"--workdir={workdir}"),
        stdout=write,
        stderr=subprocess.PIPE,
        text=True,
    )
    os.close(write)
    assert done.returncode == 0, done.stderr
    assert (workdir / "evaluation" / "predictions.csv").exists()


@pytest.mark.slow
def test_closed_outputs_and_a_full_one(table, tmp_path):
    command = f"{sys.executable} -m mi_classifier estimate {table} --labels=y"
    options = {"shell": True, "cwd": tmp_path, "capture_output": True, "text": True}
    options |= {"env": script_environment(1), "timeout": 120}
    closed = subprocess.run(f"{command} >&- 2>&-", check=False, **options)
    assert closed.returncode == 0
    full = subprocess.run(f"{command} >/dev/full", check=False, **options)
    assert full.returncode == 2
    assert full.stderr == "error: standard output: No space left on device\n"


@pytest.mark.slow
def test_a_home_folder_is_found_after_the_equals_sign(table, tmp_path):
    home = {"HOME": str(tmp_path), "JAX_DEFAULT_PRNG_IMPL": "nonsense"}
    done = run(
        *("estimate", table, "--labels=y", "--workdir=~/run"),
        env=home,
        cwd=tmp_path,
        capture_output=True,
    )
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "run" / "evaluation" / "predictions.csv").exists()
    assert not (tmp_path / "~").exists()


def bombs(folder):
    """Files of a few KiB that hold a few MiB, with their readers."""
    numbers = np.zeros(1 << 20, np.float32)
    np.savez_compressed(folder / "table.npz", x=numbers, y=numbers)
    np.savez_compressed(folder / "net.npz", features=numbers, head_kernel=0, labels=0)
    with gzip.open(folder / "table.csv.gz", "wb") as file:
        file.write(b"1,2\n" * (1 << 19))
    column = pa.array(np.zeros(1 << 20)).dictionary_encode()
    pq.write_table(pa.table({"x": column, "y": column}), folder / "table.parquet")
    readers = {"net.npz": exported.read}
    return [(path, readers.get(path.name, arrays.read)) for path in folder.iterdir()]


def test_a_file_that_inflates_to_more_than_the_memory_is_refused(tmp_path, monkeypatch):
    found = bombs(tmp_path)
    assert len(found) == 4 and all(p.stat().st_size < 1 << 14 for p, _ in found)
    monkeypatch.setattr(room, "memory", lambda: 1 << 21)
    for path, read in found:
        with pytest.raises(UserError, match=rf"{path}: takes 0\.\d GiB of memory, of"):
            read(str(path))


def test_memory_is_known():
    assert 1 << 20 < room.memory() < 1 << 50
