"""What others hand over does no harm: no program starts, nothing is written elsewhere.

Also: names of others do not reach a terminal as codes, or a spreadsheet as formulas.
Weights are in models/, PostScript in test_decoding.py.
"""

import os
import subprocess
import sys
import zipfile

import numpy as np
import pytest
from PIL import Image

import mi_classifier as mi
from mi_classifier.data import (
    arrays,
    exported,
    image_folder,
    tfds_store,
)
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
        *("estimate", table, "--labels=y", "--rank=False", f"--workdir={workdir}"),
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
        *("estimate", table, "--labels=y", "--rank=False", "--workdir=~/run"),
        env=home,
        cwd=tmp_path,
        capture_output=True,
    )
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "run" / "evaluation" / "predictions.csv").exists()
    assert not (tmp_path / "~").exists()


def test_a_style_of_the_present_folder_starts_no_program(tmp_path):
    """A style may ask for LaTeX; here a program of its name notes that it ran."""
    (tmp_path / "matplotlibrc").write_text("text.usetex: True\n")
    (tmp_path / "bin").mkdir()
    for name in ("latex", "kpsewhich", "dvipng"):
        program = tmp_path / "bin" / name
        program.write_text(f"#!/bin/sh\ntouch {tmp_path}/started\nexit 1\n")
        program.chmod(0o755)
    rng = np.random.default_rng(0)
    rows = [f"{x:.3f},{int(x > 0)}" for x in rng.standard_normal(60)]
    (tmp_path / "t.csv").write_text("\n".join(["x,y", *rows]))
    environment = script_environment(1)
    environment["PATH"] = f"{tmp_path / 'bin'}{os.pathsep}{environment['PATH']}"
    command = (
        sys.executable,
        "-m",
        "mi_classifier",
        "estimate",
        "t.csv",
        "--labels=y",
        "--rank=False",
    )
    options = {"cwd": tmp_path, "env": environment, "capture_output": True}
    done = subprocess.run(command, check=False, text=True, **options)
    assert done.returncode == 0, done.stderr
    assert not (tmp_path / "started").exists()


def test_codes_of_terminals_in_names_of_photos_are_escaped(tmp_path, capsys):
    for name in ("\x1b]0;owned\x07cat", "dog"):
        folder = tmp_path / "photos" / name
        folder.mkdir(parents=True)
        for i in range(10):
            Image.new("RGB", (16, 16)).save(folder / f"{i}.png")
    (tmp_path / "photos" / "dog" / "\x1b[31mbroken.png").write_bytes(b"no image")
    image_folder.load(
        str(tmp_path / "photos"), 16, 16, "imagenet", str(tmp_path), broken="skip"
    )
    told = capsys.readouterr().out
    assert "\x1b" not in told and r"\x1b]0;owned\x07cat" in told
    assert r"first dog/\x1b[31mbroken.png" in told


def test_deep_links_out_of_a_workdir_are_refused(tmp_path):
    workdir = tmp_path / "run"
    (workdir / "evaluation").mkdir(parents=True)
    (tmp_path / "victim").mkdir()
    (workdir / "evaluation" / "images").symlink_to(tmp_path / "victim")
    files.write_hashed(workdir / "config.json", "{}")
    with pytest.raises(UserError, match="evaluation/images: a link that leads out"):
        workdirs.load_config(workdir)


def test_a_home_folder_of_nobody_is_told(table, tmp_path):
    done = run(
        *(
            "estimate",
            table,
            "--labels=y",
            "--rank=False",
            "--workdir=~nobody-at-all/run",
        ),
        cwd=tmp_path,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 2
    assert "no user's home folder is called so" in done.stderr
    assert not (tmp_path / "~nobody-at-all").exists()
