"""Kills, damage and double starts, in short; benchmarks/faults.py is the long form."""

import json
import random
import shutil
import signal
import subprocess
import sys
import time

import chex
import pytest

from mi_classifier import config as configs
from configs import common as recipes
from mi_classifier import evaluation
from mi_classifier.data import load_dataset
from mi_classifier.errors import UserError
from mi_classifier.training import train
from tests.conftest import REPOSITORY, script_environment

SLOW = (
    "train.py",
    "--config=configs/gmm.py",
    "--config.model.hidden=(16,)",
    "--config.batch_size=4000",
    "--config.num_epochs=600",
    "--config.optimizer.schedule=constant",
    "--config.checkpoint_seconds=1000.0",
    "--config.data.fresh=False",
)


def start(workdir):
    """Starts a long run, and returns when it trains."""
    process = subprocess.Popen(
        [sys.executable, *SLOW, f"--workdir={workdir}"],
        cwd=REPOSITORY,
        env=script_environment(1),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline and process.poll() is None:
        path = workdir / "metrics.jsonl"
        if path.exists() and len(path.read_text().splitlines()) > 1:
            return process
        time.sleep(0.05)
    process.kill()
    raise AssertionError(process.communicate())


def test_a_second_run_is_refused_and_sigterm_saves_the_first(
    run_script, tmp_path, capsys
):
    workdir = tmp_path / "run"
    first = start(workdir)
    second = run_script(*SLOW, f"--workdir={workdir}", check=False)
    assert second.returncode == 2
    told = second.stderr.strip().splitlines()
    assert len(told) == 1 and "another process trains in" in told[0]
    assert not list((workdir / "checkpoints").glob("[0-9]*"))  # put off
    first.send_signal(signal.SIGTERM)
    _, errors = first.communicate(timeout=60)
    assert first.returncode == 143, errors
    assert errors.strip().splitlines()[-1].startswith("terminated; what was saved")
    (step,) = (int(p.name) for p in (workdir / "checkpoints").glob("[0-9]*"))
    reached = step // 12
    # It goes on from what was saved, to the end of a run that nothing disturbed.
    path = workdir / "config.json"
    config = json.loads(path.read_text()) | {"num_epochs": reached + 1}
    (workdir / ".config.json.sha256").unlink()
    path.write_text(json.dumps(config))
    resumed = configs.from_json(path.read_text())
    train(resumed, workdir)
    assert f"goes on after epoch {reached} of {reached + 1}" in capsys.readouterr().out
    train(resumed, tmp_path / "straight")
    assert rows_of(workdir) == rows_of(tmp_path / "straight")


def test_ctrl_c_saves_the_last_epoch_and_leaves_nothing_half(tmp_path):
    # Tests in the background may have been told to ignore it, and so their children.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    workdir = tmp_path / "run"
    first = start(workdir)
    first.send_signal(signal.SIGINT)
    _, errors = first.communicate(timeout=60)
    assert first.returncode == 130
    *others, left = errors.strip().splitlines()
    assert "saving the last epoch; once more to leave at once" in others
    assert left == "interrupted; what was saved stays, and the same command goes on"
    (step,) = (int(p.name) for p in (workdir / "checkpoints").glob("[0-9]*"))
    assert step // 12 == len(rows_of(workdir))
    # Where nothing is to be saved, at once: here while JAX is imported.
    process = subprocess.Popen(
        [sys.executable, "-X", "importtime", "evaluate.py", f"--workdir={workdir}"],
        cwd=REPOSITORY,
        env=script_environment(1),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    )
    for line in process.stderr:
        if "jaxlib" in line:
            break
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=60)
    assert process.returncode == 130
    assert errors.strip().splitlines()[-1].startswith("interrupted; ")


# Whoever asks for a host, or for a connection to one, ends at once.
ALONE = """
import os, runpy, socket, sys
def refuse(*arguments, **options):
    os.write(2, f"asked for {arguments}".encode())
    os._exit(9)
socket.socket.connect = socket.socket.connect_ex = socket.getaddrinfo = refuse
sys.argv = sys.argv[1:]
runpy.run_path(sys.argv[0], run_name="__main__")
"""


def test_nothing_is_fetched_that_nobody_asked_for(run_script, tmp_path):
    flags = *SLOW[:4], "--config.num_epochs=1", f"--workdir={tmp_path / 'run'}"
    run_script("-c", ALONE, *flags)  # evaluates as well
    asked = "-c", ALONE, "train.py", "--config=configs/mnist.py"
    folder = f"--config.data.data_dir={tmp_path / 'data'}"
    assert run_script(*asked, folder, check=False).returncode == 9  # it would notice


# No file may grow beyond it: not the metrics, nor the events, nor the checkpoints.
LIMITED = """
import resource, runpy, sys
resource.setrlimit(resource.RLIMIT_FSIZE, (int(sys.argv[1]),) * 2)
sys.argv = sys.argv[2:]
runpy.run_path(sys.argv[0], run_name="__main__")
"""


@pytest.mark.parametrize("room", [100, 4_000, 9_000])
def test_what_cannot_be_written_is_told_and_with_room_goes_on(
    run_script, trained, tmp_path, monkeypatch, room
):
    """From the first file that does not fit to those of the last epochs."""
    monkeypatch.setenv("JAX_ENABLE_COMPILATION_CACHE", "false")
    config, workdir, state = trained
    short = tmp_path / "run"
    flags = (
        *SLOW[:5],
        "--config.num_epochs=3",
        "--config.checkpoint_seconds=0.0",
        "--config.data.fresh=False",
        f"--workdir={short}",
    )
    limited = run_script("-c", LIMITED, room, *flags, check=False)
    assert limited.returncode == 2, limited.stderr
    *epochs, line = limited.stderr.strip().splitlines()
    assert all(text.startswith("epoch ") for text in epochs if text.strip())
    assert "cannot be written: File too large" in line
    resumed = train(config, short)
    chex.assert_trees_all_equal(resumed.params, state.params)
    assert rows_of(short) == rows_of(workdir)


def test_what_kills_leave_behind_is_removed(copied):
    config, workdir, _ = copied
    for name in (".config.json.99.tmp", "checkpoints/48.orbax-checkpoint-tmp"):
        (workdir / name).mkdir()
    (workdir / ".metrics.jsonl.7.tmp").write_text("half a row")
    train(config, workdir)
    left = [path.name for path in workdir.rglob("*") if "tmp" in path.name]
    assert not left
    folder = workdir / "evaluation"
    folder.mkdir()
    (folder / ".metrics.json.5.tmp").write_text("{")
    evaluation.evaluate(workdir, quiet=True)
    assert not list(folder.glob(".*.tmp"))


def test_what_killed_preparations_leave_behind_is_removed(rehearsal_sets, tmp_path):
    config = recipes.localization("resnet50", "cub200", False).data.to_dict()
    config |= {"archive_path": str(rehearsal_sets["cub200"]), "data_dir": str(tmp_path)}
    config |= {"stored_side": 36, "side": 32}
    sound = load_dataset(config).fingerprints()
    (prepared,) = tmp_path.glob("cub200/*/1.0.0")
    (decoded,) = (p for p in (tmp_path / "decoded").iterdir() if p.is_dir())
    (prepared / "hashes.json").unlink()  # as if a kill had come before it
    assert load_dataset(config).fingerprints() == sound
    assert (prepared / "hashes.json").is_file()
    prepared.rename(prepared.with_name("incomplete.ABC123_1.0.0"))
    decoded.rename(decoded.with_name(f".{decoded.name}.99.tmp"))
    of_others = tmp_path / "decoded" / ".0123.99.tmp"
    of_others.mkdir()
    assert load_dataset(config).fingerprints() == sound
    assert {p.name for p in prepared.parent.iterdir()} == {"1.0.0"}
    assert {p.name for p in decoded.parent.iterdir()} == {decoded.name, of_others.name}


def rows_of(workdir):
    rows = [json.loads(line) for line in (workdir / "metrics.jsonl").open()]
    return [{k: v for k, v in row.items() if k != "seconds"} for row in rows]


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """A finished run of three epochs, its config, and its state."""
    config = configs.load(f"{REPOSITORY}/configs/gmm.py")
    config.model.hidden, config.batch_size, config.num_epochs = (16,), 4_000, 3
    config.checkpoint_seconds, config.data.fresh = 0.0, False
    workdir = tmp_path_factory.mktemp("trained") / "run"
    return config, workdir, train(config, workdir)


@pytest.fixture
def copied(trained, tmp_path):
    config, workdir, state = trained
    return config, shutil.copytree(workdir, tmp_path / "run"), state


def test_a_damaged_checkpoint_gives_way_to_the_one_before(copied, capsys):
    config, workdir, state = copied
    generator = random.Random(0)
    files = [p for p in (workdir / "checkpoints" / "36").rglob("*") if p.is_file()]
    sound = {path: path.read_bytes() for path in files}
    warned = 0
    for number, path in enumerate(sorted(files)):
        how = ("a bit", "cut", "removed", "zeros")[number % 4]
        content = bytearray(sound[path])
        if how == "removed" or not content:
            path.unlink()
        elif how == "cut":
            path.write_bytes(content[: len(content) // 2])
        elif how == "zeros":
            path.write_bytes(bytes(len(content)))
        else:
            content[generator.randrange(len(content))] ^= 1 << generator.randrange(8)
            path.write_bytes(content)
        again = train(config, workdir)
        chex.assert_trees_all_equal(again.params, state.params)
        chex.assert_trees_all_equal(again.opt_state, state.opt_state)
        warned += "36 is damaged" in capsys.readouterr().err
        shutil.rmtree(workdir / "checkpoints" / "36")
        for other, text in sound.items():
            other.parent.mkdir(parents=True, exist_ok=True)
            other.write_bytes(text)
    assert warned > 2
    assert len(rows_of(workdir)) == 3


def test_where_every_checkpoint_is_damaged_one_line_says_so(copied):
    config, workdir, _ = copied
    for path in (workdir / "checkpoints").rglob("log/metadata"):
        path.write_text(path.read_text().replace("1", "2"))
    with pytest.raises(UserError, match="damaged, or of another model"):
        train(config, workdir)
    with pytest.raises(UserError, match="damaged, or of another model"):
        evaluation.evaluate(workdir, quiet=True)


@pytest.mark.parametrize("text", ["", "garbage", '{"epoch": 1, "step": 12}\n' * 9])
def test_damaged_metrics_are_written_anew(copied, trained, text):
    config, workdir, _ = copied
    (workdir / "metrics.jsonl").write_text(text)
    train(config, workdir)
    assert rows_of(workdir) == rows_of(trained[1])


def test_a_changed_config_is_noticed(copied):
    _, workdir, _ = copied
    path = workdir / "config.json"
    path.write_text(path.read_text().replace('"seed": 0', '"seed": 4'))
    with pytest.raises(UserError, match=r"config.json: not what was written"):
        evaluation.evaluate(workdir, quiet=True)


def test_a_cache_is_checked_before_it_is_used(rehearsal_sets, tmp_path):
    config = {
        "name": "image_folder",
        "root_dir": str(rehearsal_sets["image_folder"]),
        "stored_side": 32,
        "side": 32,
        "normalization": "imagenet",
        "data_dir": str(tmp_path),
    }
    sound = load_dataset(config).fingerprints()
    generator = random.Random(0)
    for path in sorted(p for p in (tmp_path / "decoded").rglob("*") if p.is_file()):
        content = bytearray(path.read_bytes())
        whole = bytes(content)
        content[generator.randrange(len(content))] ^= 4
        path.write_bytes(content)
        try:
            assert load_dataset(config).fingerprints() == sound
        except UserError as error:
            assert "remove this folder, and it is made anew" in str(error)
        else:
            assert path.name == "done.json"  # in what only people read
        path.write_bytes(whole)
    assert load_dataset(config).fingerprints() == sound
