"""The runs behind a table: a workdir for each cell and seed, trained where missing."""

import dataclasses
import multiprocessing
import os
import signal
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path
from typing import Any

from absl import logging
from ml_collections import ConfigDict

from mi_classifier import config as configs
from mi_classifier.errors import UserError
from mi_classifier.storage import workdirs
from mi_classifier.storage.files import read_json

# Fields in which runs of a cell may differ when they are collected.
_FREE = (
    "seed",
    "data.seed",
    "data.fresh",
    "pretrained",
    "pipeline",
    "evaluators",
    "microbatches",
    "model.remat",
    "steps_per_call",
    "checkpoint_seconds",
    "evaluation_batch_size",
)


@dataclasses.dataclass(frozen=True)
class Options:
    """How a table is rerun.

    Attributes:
      root: the folder of the table's workdirs; what is written stands beside it.
      seeds: runs a cell, seeded 0, 1, 2, ...
      mine: whether Table 2 runs MINE too.
      archive_dir: of MNIST's idx files, "" to download.
      data_dir: where TFDS keeps data sets, "" for its default.
      changes: of every config, such as "num_epochs=2".
      only: words that a cell's name must have, such as "cub200"; all cells without any.
      collect: whether nothing is trained: finished runs beside `root`, wherever they
        lie and whoever started them, fill the cells that their configs say.
    """

    root: Path
    seeds: int = 1
    mine: bool = True
    archive_dir: str = ""
    data_dir: str = ""
    changes: Sequence[str] = ()
    only: Sequence[str] = ()
    collect: bool = False


@dataclasses.dataclass(frozen=True)
class FinishedRun:
    """A finished run of a cell.

    Attributes:
      workdir: that holds it.
      config: it was trained by.
      results: of its evaluation, as metrics.json has them.
    """

    workdir: Path
    config: ConfigDict
    results: dict[str, Any]


def config(reference: str, seed: int, options: Options) -> ConfigDict:
    """Loads a config of configs/, such as "gmm:balanced", for a seed.

    Raises:
      UserError: there is no such config.
    """
    loaded = configs.get_config(reference)
    loaded.seed = seed
    if "archive_dir" in loaded.data:
        loaded.data.archive_dir = options.archive_dir
    if "data_dir" in loaded.data:
        loaded.data.data_dir = options.data_dir
    return configs.with_absolute_paths(loaded)


def gather(
    wanted: Mapping[Path, ConfigDict],
    name_of: Callable[[ConfigDict], str],
    options: Options,
) -> dict[str, list[FinishedRun]]:
    """Returns the runs of each cell; trains those that are missing, if it may.

    Args:
      wanted: the config of each workdir.
      name_of: from a config of the table to the name of its cell, words with commas.
      options: see `Options`.

    Returns:
      By the cell's name, its runs by workdir, one at least.

    Raises:
      UserError: a workdir of another config, a change that cannot be, data that
        cannot be read, or no run.
    """
    wanted = {
        workdir: config
        for workdir, config in wanted.items()
        if {*options.only} <= {*name_of(config).split(",")}
    }
    if not wanted:
        raise UserError(f"--only: no cell has all of {', '.join(options.only)}")
    for workdir, config in wanted.items():
        wanted[workdir] = _changed(config, options.changes)
        if name_of(wanted[workdir]) != name_of(config):
            raise UserError("--set: makes another cell of it; --only chooses cells")
    if options.collect:
        runs = _collect(wanted, name_of, options)
    else:
        _train_missing(wanted, options)
        runs = [
            FinishedRun(w, c, read_json(_metrics(w), "remove it, and it is made anew"))
            for w, c in wanted.items()
        ]
    cells: dict[str, list[FinishedRun]] = {}
    for config in wanted.values():  # in the table's order
        cells.setdefault(name_of(config), [])
    for run in runs:
        cells[name_of(run.config)].append(run)
    return {name: of_cell for name, of_cell in cells.items() if of_cell}


def num_processes() -> int:
    """How many cells to train at once: a small net does not fill two cores."""
    import jax

    return min(os.cpu_count() or 1, 4) if jax.default_backend() == "cpu" else 1


def seed_of(workdir: Path) -> int:
    """Returns the seed that a cell's workdir is named by."""
    return int(workdir.name.removeprefix("seed"))


def _changed(config: ConfigDict, changes: Sequence[str]) -> ConfigDict:
    from mi_classifier.training.checks import check_config, known_options

    for change in changes:
        field, equals, _ = change.partition("=")
        if not equals:
            raise UserError(f"--set: must be FIELD=VALUE, not {change!r}")
        if field in ("seed", "data.seed"):
            raise UserError("--set: seeds are the table's; --seeds says how many")
    arguments = [f"--config.{change}" for change in changes]
    try:
        config, _ = configs.override(config, arguments, known_options)
    except UserError as error:
        raise UserError(f"--set: {str(error).removeprefix('--config.')}") from error
    check_config(config)
    return configs.with_absolute_paths(config)


def _train_missing(wanted: Mapping[Path, ConfigDict], options: Options) -> None:
    for workdir, config in wanted.items():
        workdirs.check_free_for(config, workdir)
    compiled = options.root.parent / "compiled"
    missing = [
        (configs.to_json(config), workdir, compiled)
        for workdir, config in wanted.items()
        if not _finished(workdir)
        or configs.differences(config, workdirs.load_config(workdir))
    ]
    processes = min(num_processes(), len(missing))
    if processes > 1:
        spawn = multiprocessing.get_context("spawn")
        try:
            with ProcessPoolExecutor(processes, spawn, _follow_first) as pool:
                done = pool.map(_run, *zip(*missing, strict=True))
                for count, workdir in enumerate(done):
                    print(f"{count + 1}/{len(missing)}: {workdir}", flush=True)
        except BrokenProcessPool as error:
            raise UserError(
                "a process was killed, perhaps for want of memory; the same command "
                "goes on"
            ) from error
    else:
        for count, cell in enumerate(missing):
            print(f"{count + 1}/{len(missing)}: {_run(*cell)}", flush=True)


def _follow_first() -> None:
    """Has a process of the pool end with the first, which alone Ctrl-C ends."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    first = multiprocessing.parent_process()

    def follow() -> None:
        first.join()
        os._exit(1)

    threading.Thread(target=follow, daemon=True).start()


def _run(config: str, workdir: Path, compiled: Path) -> Path:
    import jax

    from mi_classifier import training
    from mi_classifier.evaluation import load_net
    from mi_classifier.reporting.writing import evaluate_and_write

    logging.set_verbosity(logging.FATAL)  # in a process of its own, as `cli.run` does
    # Cells differ in numbers, seldom in programs.
    jax.config.update("jax_compilation_cache_dir", str(compiled))
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.0)
    dataset = training.train(configs.from_json(config), workdir).dataset
    evaluate_and_write(load_net(workdir, dataset), published=None, quiet=True)
    return workdir


def _collect(
    wanted: Mapping[Path, ConfigDict],
    name_of: Callable[[ConfigDict], str],
    options: Options,
) -> list[FinishedRun]:
    """Finds finished runs of the table's configs, one of a cell and seed."""
    folder = options.root.parent
    cells = {name_of(config): config for config in wanted.values()}
    data = {config.data.name for config in wanted.values()}
    found: dict[tuple[str, int], FinishedRun] = {}
    for workdir in _workdirs(folder):
        try:
            config = workdirs.load_config(workdir)
            if config.data.get("name") not in data:
                continue
            configs.check(config)
        except UserError as error:
            print(f"left out: {error}")
            continue
        try:
            name = name_of(config)
        except AttributeError:  # another kind of run on the same data
            continue
        if name not in cells:
            continue
        if odd := _differences(cells[name], config):
            print(f"{workdir}: left out, {odd[0]} in this table; --set changes that")
        elif not _finished(workdir):
            print(f"{workdir}: left out, not finished or not evaluated since")
        elif other := found.get((name, config.seed)):
            print(f"{workdir}: left out, of seed {config.seed} as {other.workdir} is")
        else:
            results = read_json(_metrics(workdir), "run evaluate.py on it again")
            found[name, config.seed] = FinishedRun(workdir, config, results)
    if not found:
        raise UserError(f"--collect: no finished run of this table below {folder}")
    return list(found.values())


def _differences(wanted: ConfigDict, config: ConfigDict) -> list[str]:
    """Names what sets a run apart from the table's, but for seeds, paths and speed."""
    a, b = configs.flatten(wanted), configs.flatten(config)
    return [
        f"{field} is {b.get(field)!r} there and {a.get(field)!r}"
        for field in sorted(a.keys() | b.keys())
        if a.get(field) != b.get(field)
        and field not in _FREE
        and not field.endswith(("_dir", "_path"))
    ]


def _workdirs(folder: Path) -> Iterator[Path]:
    for path, folders, files in os.walk(folder):
        folders.sort()
        if workdirs.CONFIG in files:
            folders.clear()
            yield Path(path)


def _metrics(workdir: Path) -> Path:
    return workdir / "evaluation" / "metrics.json"


def is_current(path: Path, workdir: Path) -> bool:
    """Whether a file is of the finished run that a workdir holds, as now configured."""
    log, config = workdir / "metrics.jsonl", workdir / workdirs.CONFIG
    if not log.exists() or not path.exists():
        return False
    if path.stat().st_mtime < max(log.stat().st_mtime, config.stat().st_mtime):
        return False
    num_epochs = workdirs.load_config(workdir).num_epochs
    return log.read_bytes().count(b"\n") == num_epochs


def _finished(workdir: Path) -> bool:
    return is_current(_metrics(workdir), workdir)
