"""Signals, damaged files and full disks cost no work, and are never silent.

A run that was ended goes on to the same values as an undisturbed one. Damage is
repaired, or named in one line. benchmarks/faults.py is the long form.
"""

import contextlib
import json
import random
import resource
import shutil
import signal
import subprocess
import sys
import time

import chex
import pytest

from mi_classifier import commands, config as configs
from mi_classifier.data import load_dataset
from mi_classifier.errors import UserError
from tests.conftest import REPOSITORY, script_environment

STEPS = 12  # of an epoch: 48,000 examples in batches of 4,000
OVERRIDES = {
    "model.hidden": (16,),
    "batch_size": 4_000,
    "optimizer.schedule": "constant",  # does not depend on the number of epochs
    "data.fresh": False,
}
COMMAND = (
    "train.py",
    "--config=configs/gmm.py",
    *(f"--config.{field}={value}" for field, value in OVERRIDES.items()),
)


def small_config(epochs):
    config = configs.load(f"{REPOSITORY}/configs/gmm.py")
    config.update_from_flattened_dict(OVERRIDES)
    config.num_epochs, config.checkpoint_seconds = epochs, 0.0
    return config


def rows_of(workdir):
    rows = [json.loads(line) for line in (workdir / "metrics.jsonl").open()]
    return [{k: v for k, v in row.items() if k != "seconds"} for row in rows]


def steps_saved(workdir):
    return sorted(int(p.name) for p in (workdir / "checkpoints").glob("[0-9]*"))


@contextlib.contextmanager
def long_run(workdir):
    """Starts a run of 600 epochs that saves nothing unless it is asked to.

    Yields its process after two more epochs.
    """
    # A background process may have been told to ignore SIGINT; children inherit that.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    before = len(rows_of(workdir)) if workdir.exists() else 0
    flags = ("--config.num_epochs=600", "--config.checkpoint_seconds=1000.0")
    process = subprocess.Popen(
        [sys.executable, *COMMAND, *flags, f"--workdir={workdir}"],
        cwd=REPOSITORY,
        env=script_environment(1),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        path = workdir / "metrics.jsonl"
        deadline = time.monotonic() + 120
        while not path.exists() or len(path.read_text().splitlines()) < before + 2:
            assert process.poll() is None and time.monotonic() < deadline
            time.sleep(0.05)
        yield process
    finally:
        process.kill()
        process.communicate()


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """A finished run of three epochs: its config, workdir and state."""
    config = small_config(epochs=3)
    workdir = tmp_path_factory.mktemp("trained") / "run"
    return config, workdir, commands.train(config, workdir)


@pytest.fixture
def copied(trained, tmp_path):
    config, workdir, state = trained
    return config, shutil.copytree(workdir, tmp_path / "run"), state


@pytest.mark.slow
def test_sigterm_and_ctrl_c_save_the_last_step_and_the_run_resumes(trained, tmp_path):
    del trained  # has imported and compiled all, so that the refusal takes no time
    workdir = tmp_path / "run"
    with long_run(workdir) as process:
        with pytest.raises(UserError, match="another process trains in"):
            commands.train(
                configs.from_json((workdir / "config.json").read_text()), workdir
            )
        assert not steps_saved(workdir)  # it has put off saving
        process.send_signal(signal.SIGTERM)
        _, errors = process.communicate(timeout=60)
        assert process.returncode == 143, errors
        assert errors.strip().splitlines()[-1].startswith("terminated; what was saved")
    (saved,) = steps_saved(workdir)
    assert saved // STEPS in (len(rows_of(workdir)), len(rows_of(workdir)) + 1)

    with long_run(workdir) as process:
        process.send_signal(signal.SIGINT)
        output, errors = process.communicate(timeout=60)
        assert process.returncode == 130, errors
        epoch, rest = divmod(saved, STEPS)
        wheres = [f"in epoch {epoch + 1}, after {rest} of 12 steps"]
        if not rest:  # with the validation of the epoch, or without
            wheres = [f"after epoch {epoch} ", f"in epoch {epoch}, after 12 of 12"]
        assert any(f"resumes {where}" in output for where in wheres), output
        *others, left = errors.strip().splitlines()
        assert "saving the work so far; once more to leave at once" in others
        assert left == "interrupted; what was saved stays, and the same command goes on"
    with long_run(workdir):
        pass  # is killed after two more epochs
    reached = len(rows_of(workdir))
    commands.train(small_config(reached), tmp_path / "undisturbed")
    assert rows_of(workdir) == rows_of(tmp_path / "undisturbed")


def test_ctrl_c_leaves_at_once_if_there_is_nothing_to_save(tmp_path):
    signal.signal(signal.SIGINT, signal.default_int_handler)
    process = subprocess.Popen(
        [sys.executable, "-X", "importtime", "evaluate.py", f"--workdir={tmp_path}"],
        cwd=REPOSITORY,
        env=script_environment(1),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    )
    for line in process.stderr:  # until JAX is imported
        if "jaxlib" in line:
            break
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=60)
    assert process.returncode == 130
    assert errors.strip().splitlines()[-1].startswith("interrupted; ")


# Runs train.py, and then loads MNIST. The first look-up of a host, and the first
# connection, end the process with status 9.
NO_NETWORK = """
import contextlib, os, runpy, socket, sys
def refuse(*arguments, **options):
    os.write(2, f"asked for {arguments}".encode())
    os._exit(9)
socket.socket.connect = socket.socket.connect_ex = socket.getaddrinfo = refuse
data_dir, *sys.argv = sys.argv[1:]
with contextlib.suppress(SystemExit):
    runpy.run_path(sys.argv[0], run_name="__main__")
print("no host was asked for", flush=True)
from mi_classifier.data import load_dataset
load_dataset({"name": "mnist", "balanced": True, "data_dir": data_dir})
"""


@pytest.mark.slow
def test_training_and_evaluation_use_no_network(run_script, tmp_path):
    flags = ("--config.num_epochs=1", f"--workdir={tmp_path / 'run'}")
    command = ("-c", NO_NETWORK, tmp_path / "data", *COMMAND, *flags)
    done = run_script(*command, check=False)
    assert (tmp_path / "run" / "evaluation" / "metrics.json").exists()
    assert "no host was asked for" in done.stdout
    assert done.returncode == 9, done.stderr  # a download would have been noticed


# No file may grow beyond so many bytes.
LIMITED = """
import resource, runpy, sys
resource.setrlimit(resource.RLIMIT_FSIZE, (int(sys.argv[1]),) * 2)
sys.argv = sys.argv[2:]
runpy.run_path(sys.argv[0], run_name="__main__")
"""


@pytest.mark.slow
def test_a_command_on_a_full_disk_ends_with_one_line_and_status_2(
    run_script, trained, tmp_path, monkeypatch
):
    monkeypatch.setenv("JAX_ENABLE_COMPILATION_CACHE", "false")  # it writes files, too
    config, workdir, state = trained
    flags = ("--config.num_epochs=3", "--config.checkpoint_seconds=0.0")
    command = (*COMMAND, *flags, f"--workdir={tmp_path / 'run'}")
    limited = run_script("-c", LIMITED, 4_000, *command, check=False)
    assert limited.returncode == 2, limited.stderr
    *progress, line = limited.stderr.strip().splitlines()
    starts = ("epoch ", "training")
    assert all(text.startswith(starts) for text in progress if text.strip())
    assert "cannot be written: File too large" in line
    resumed = commands.train(config, tmp_path / "run")
    chex.assert_trees_all_equal(resumed, state)
    assert rows_of(tmp_path / "run") == rows_of(workdir)


@contextlib.contextmanager
def file_size_limit(size):
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, limits[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)


@pytest.mark.parametrize("size", [100, 9_000])
def test_a_run_resumes_exactly_after_a_full_disk(trained, tmp_path, capsys, size):
    """The first file does not fit, or one of the evaluation."""
    config, workdir, state = trained
    with (
        file_size_limit(size),
        pytest.raises(UserError, match="cannot be written: File too large"),
    ):
        commands.train_and_evaluate(config, tmp_path / "run", quiet=True)
    resumed = commands.train(config, tmp_path / "run")
    chex.assert_trees_all_equal(resumed, state)
    assert rows_of(tmp_path / "run") == rows_of(workdir)


def test_temporary_files_of_killed_runs_are_removed(copied):
    config, workdir, _ = copied
    for name in (".config.json.99.tmp", "checkpoints/48.orbax-checkpoint-tmp"):
        (workdir / name).mkdir()
    (workdir / ".metrics.jsonl.7.tmp").write_text("half a row")
    commands.train(config, workdir)
    left = [path.name for path in workdir.rglob("*") if "tmp" in path.name]
    assert not left
    folder = workdir / "evaluation"
    folder.mkdir()
    (folder / ".metrics.json.5.tmp").write_text("{")
    commands.evaluate(workdir, quiet=True)
    assert not list(folder.glob(".*.tmp"))


def test_temporary_files_of_killed_preparations_are_removed(rehearsal_sets, tmp_path):
    config = configs.load(f"{REPOSITORY}/configs/cub_resnet.py").data.to_dict()
    config |= {"archive_path": str(rehearsal_sets["cub200"]), "data_dir": str(tmp_path)}
    config |= {"stored_side": 36, "side": 32}
    sound = load_dataset(config).hash_arrays()
    (prepared,) = tmp_path.glob("cub200/*/1.0.0")
    (decoded,) = (p for p in (tmp_path / "decoded").iterdir() if p.is_dir())
    (prepared / "hashes.json").unlink()  # a kill may come before this file
    assert load_dataset(config).hash_arrays() == sound
    assert (prepared / "hashes.json").is_file()
    prepared.rename(prepared.with_name("incomplete.ABC123_1.0.0"))
    decoded.rename(decoded.with_name(f".{decoded.name}.99.tmp"))
    of_others = tmp_path / "decoded" / ".0123.99.tmp"
    of_others.mkdir()
    assert load_dataset(config).hash_arrays() == sound
    assert {p.name for p in prepared.parent.iterdir()} == {"1.0.0"}
    assert {p.name for p in decoded.parent.iterdir()} == {decoded.name, of_others.name}


@pytest.mark.slow
def test_a_damaged_checkpoint_is_replaced_by_the_previous_one(copied, capsys):
    config, workdir, state = copied
    generator = random.Random(0)
    folder = workdir / "checkpoints" / f"{3 * STEPS}"
    files = [p for p in folder.rglob("*") if p.is_file()]
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
        again = commands.train(config, workdir)
        chex.assert_trees_all_equal(again, state)
        warned += f"{3 * STEPS} is damaged" in capsys.readouterr().err
        shutil.rmtree(folder)
        for other, text in sound.items():
            other.parent.mkdir(parents=True, exist_ok=True)
            other.write_bytes(text)
    assert warned > 2
    assert len(rows_of(workdir)) == 3


def test_damage_of_every_checkpoint_is_named_in_one_line(copied):
    config, workdir, _ = copied
    for path in (workdir / "checkpoints").rglob("log/metadata"):
        path.write_text(path.read_text().replace("1", "2"))
    with pytest.raises(UserError, match="damaged, or of another model"):
        commands.train(config, workdir)
    with pytest.raises(UserError, match="damaged, or of another model"):
        commands.evaluate(workdir, quiet=True)


@pytest.mark.parametrize("text", ["", "garbage", '{"epoch": 1, "step": 12}\n' * 9])
def test_damaged_metrics_are_written_again(copied, trained, text):
    config, workdir, _ = copied
    (workdir / "metrics.jsonl").write_text(text)
    commands.train(config, workdir)
    assert rows_of(workdir) == rows_of(trained[1])


def test_a_changed_config_is_refused(copied):
    _, workdir, _ = copied
    path = workdir / "config.json"
    path.write_text(path.read_text().replace('"seed": 0', '"seed": 4'))
    with pytest.raises(UserError, match=r"config.json: not what was written"):
        commands.evaluate(workdir, quiet=True)


def test_a_cache_is_checked_before_it_is_used(rehearsal_sets, tmp_path):
    config = {
        "name": "image_folder",
        "root_dir": str(rehearsal_sets["image_folder"]),
        "stored_side": 32,
        "side": 32,
        "normalization": "imagenet",
        "data_dir": str(tmp_path),
    }
    sound = load_dataset(config).hash_arrays()
    generator = random.Random(0)
    for path in sorted(p for p in (tmp_path / "decoded").rglob("*") if p.is_file()):
        content = path.read_bytes()
        damaged = bytearray(content)
        damaged[generator.randrange(len(damaged))] ^= 4
        path.write_bytes(damaged)
        try:
            assert load_dataset(config).hash_arrays() == sound
        except UserError as error:
            assert "damaged; remove this folder and run the command again" in str(error)
        else:
            assert path.name == "done.json"  # in a part that no program reads
        path.write_bytes(content)
    assert load_dataset(config).hash_arrays() == sound
