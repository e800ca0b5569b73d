"""The runs behind a table: a workdir for each cell and seed, trained where missing."""

import contextlib
import dataclasses
import functools
import itertools
import multiprocessing
import os
import signal
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import BrokenExecutor, ProcessPoolExecutor
from pathlib import Path
from typing import Any

import jax
import numpy as np
from absl import logging
from ml_collections import ConfigDict

from mi_classifier import config as configs, training
from mi_classifier.activation_maps import MAPS
from mi_classifier.errors import UserError
from mi_classifier.evaluation import load_net, trivial
from mi_classifier.overrides import override
from mi_classifier.reporting.table import mean_deviation
from mi_classifier.reporting.writing import evaluate_and_write
from mi_classifier.storage import workdirs
from mi_classifier.storage.files import read_json
from mi_classifier.training.checks import check_config, known_options

NameOf = Callable[[ConfigDict], str]  # the name of a config's cell: words with commas
_METRICS = Path("evaluation", "metrics.json")  # in a workdir
# Runs of a cell may differ in these fields when they are collected.
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
    """How a table is rerun."""

    root: Path  # of the table's workdirs; the table is written beside it
    seeds: int = 1  # runs a cell, seeded 0, 1, 2, ...
    mine: bool = True  # whether Table 2 runs baselines that train a net, such as MINE
    archive_dir: str = ""  # with MNIST's idx files; "" downloads them
    data_dir: str = ""  # where TFDS keeps data sets; "" for its default
    changes: Sequence[str] = ()  # of every config, such as "num_epochs=2"
    only: Sequence[str] = ()  # words that a cell's name must have, such as "cub200"
    collect: bool = False  # train nothing; finished runs beside `root` fill their cells
    processes: int = 0  # that train cells at once; 0 chooses by the machine


@dataclasses.dataclass(frozen=True)
class Cell:
    """What a cell of a table trains."""

    reference: str  # of a config, such as "gmm:balanced"
    changes: Mapping[str, Any] = dataclasses.field(default_factory=dict)  # of fields
    seeds_data: bool = False  # whether each seed has data of its own

    def config(self, seed: int, options: Options) -> ConfigDict:
        """Return the config of a seed."""
        config = configs.get_config(self.reference)
        config.update_from_flattened_dict({"seed": seed, **self.changes})
        if self.seeds_data:
            config.data.seed = seed
        for field in ("archive_dir", "data_dir"):
            if field in config.data:
                config.data[field] = getattr(options, field)
        return configs.with_absolute_paths(config)


@dataclasses.dataclass(frozen=True)
class FinishedRun:
    """A finished run of a cell."""

    workdir: Path
    config: ConfigDict

    @functools.cached_property
    def results(self) -> dict[str, Any]:
        """The results of its evaluation, as metrics.json has them."""
        remedy = f"run evaluate.py on {self.workdir} again"
        return read_json(self.workdir / _METRICS, remedy)

    @property
    def test(self) -> dict[str, Any]:
        """The results of the test split."""
        return self.results["splits"]["test"]


Cells = Mapping[str, Sequence[FinishedRun]]  # the runs of each cell, by its name


def on_test_split(cells: Cells, *names: str) -> dict[str, list[dict[str, Any]]]:
    """Return the named results of the test split, of each run of each cell."""
    return {
        cell: [{name: run.test[name] for name in names} for run in runs]
        for cell, runs in cells.items()
    }


def numbers(runs: Sequence[Mapping[str, Any]], path: str) -> np.ndarray:
    """Return the number at a path, "maps.cam.top1", in each run, `[S]`; NaN if none."""
    *outer, name = path.split(".")

    def inside(run: Mapping[str, Any]) -> Mapping[str, Any]:
        return functools.reduce(lambda part, key: part.get(key, {}), outer, run)

    return np.array([inside(run).get(name) for run in runs], np.float64)


def percent(
    runs: Sequence[Mapping[str, Any]], *paths: str, spec: str = ".2f"
) -> list[str]:
    """Return the mean and deviation of shares over runs, in percent, by `numbers`."""
    return [mean_deviation(100 * numbers(runs, path), spec) for path in paths]


def localized(runs: Sequence[FinishedRun]) -> dict[str, str]:
    """Return the titles of the maps and trivial boxes that a cell's runs have.

    They are by their path in the results of the test split, "localization.maps.cam". An
    older run may lack some.
    """
    config = runs[0].config.localization
    titles = {
        "maps": {name: entry.title_with(config) for name, entry in MAPS.items()},
        "trivial": trivial.TITLES,
    }
    return {
        f"localization.{kind}.{name}": title
        for kind, of_kind in titles.items()
        for name, title in of_kind.items()
        if any(name in run.test["localization"].get(kind, ()) for run in runs)
    }


def gather(
    cells: Mapping[str, Cell], name_of: NameOf, options: Options
) -> dict[str, list[FinishedRun]]:
    """Return the runs of each cell, by its name; train or collect what is missing.

    `cells` are by their folder below `options.root`. A cell without runs is left out.
    """
    wanted = {}
    for seed, folder in itertools.product(range(options.seeds), cells):
        config = cells[folder].config(seed, options)
        name = name_of(config)
        if {*options.only} <= {*name.split(",")}:
            config = _changed(config, options.changes)
            if name_of(config) != name:
                raise UserError("--set: changes the cell; --only chooses cells")
            wanted[options.root / folder / f"seed{seed}"] = config
    if not wanted:
        raise UserError(f"--only: no cell has all of {', '.join(options.only)}")
    if options.collect:
        runs = _collect(wanted, name_of, options.root.parent)
    else:
        _train_missing(wanted, options)
        runs = [FinishedRun(workdir, config) for workdir, config in wanted.items()]
    found = {name_of(config): [] for config in wanted.values()}
    for run in runs:
        found[name_of(run.config)].append(run)
    return {name: of_cell for name, of_cell in found.items() if of_cell}


def _changed(config: ConfigDict, changes: Sequence[str]) -> ConfigDict:
    for change in changes:
        field, equals, _ = change.partition("=")
        if not equals:
            raise UserError(f"--set: must be FIELD=VALUE, not {change!r}")
        if field in ("seed", "data.seed"):
            raise UserError("--set: the table sets the seeds; --seeds says how many")
    arguments = [f"--config.{change}" for change in changes]
    try:
        config, _ = override(config, arguments, known_options)
    except UserError as error:
        raise UserError(f"--set: {str(error).removeprefix('--config.')}") from error
    check_config(config)
    return configs.with_absolute_paths(config)


def _train_missing(wanted: Mapping[Path, ConfigDict], options: Options) -> None:
    for workdir, config in wanted.items():
        workdirs.check_free_for(config, workdir)
    missing = [
        (configs.to_json(config), workdir)
        for workdir, config in wanted.items()
        if not is_current(workdir / _METRICS, workdir)
        or configs.differences(config, workdirs.load_config(workdir))
    ]
    # A small net does not fill two cores.
    chosen = min(os.cpu_count() or 1, 4) if jax.default_backend() == "cpu" else 1
    processes = min(options.processes or chosen, len(missing))
    with contextlib.ExitStack() as stack:
        run_all = map
        if processes > 1:
            spawn = multiprocessing.get_context("spawn")
            pool = ProcessPoolExecutor(processes, spawn, _follow_first)
            run_all = stack.enter_context(pool).map
        try:
            for count, workdir in enumerate(run_all(_run, missing)):
                print(f"{count + 1}/{len(missing)}: {workdir}", flush=True)
        except BrokenExecutor as error:
            raise UserError(
                "a process was killed, perhaps because memory ran out; the same "
                "command goes on"
            ) from error


def _follow_first() -> None:
    """End this process of the pool when the first one ends, and not by Ctrl-C."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    first = multiprocessing.parent_process()

    def follow() -> None:
        first.join()
        os._exit(1)

    threading.Thread(target=follow, daemon=True).start()


def _run(missing: tuple[str, Path]) -> Path:
    config, workdir = missing
    logging.set_verbosity(logging.FATAL)  # in a process of its own, as `cli.run` does
    dataset = training.train(configs.from_json(config), workdir).dataset
    evaluate_and_write(load_net(workdir, dataset), published=None, quiet=True)
    return workdir


def _collect(
    wanted: Mapping[Path, ConfigDict], name_of: NameOf, folder: Path
) -> list[FinishedRun]:
    """Find finished runs of the table's configs, one for each cell and seed."""
    cells = {name_of(config): config for config in wanted.values()}
    data = {config.data.name for config in wanted.values()}
    found: dict[tuple[str, int], FinishedRun] = {}
    for workdir in _workdirs(folder):
        try:
            config = workdirs.load_config(workdir)
            if "data" in config and config.data.get("name") not in data:
                continue
            configs.check(config)
            name = name_of(config)
        except UserError as error:
            print(f"left out: {error}")
            continue
        except AttributeError:  # another kind of run on the same data
            continue
        if name not in cells:
            continue
        if odd := configs.differences(cells[name], config, _is_fixed):
            print(f"{workdir}: left out, {odd[0]}; --set changes the table's")
        elif not is_current(workdir / _METRICS, workdir):
            print(f"{workdir}: left out, not finished or not evaluated since")
        elif other := found.get((name, config.seed)):
            print(f"{workdir}: left out, it has seed {config.seed} as {other.workdir}")
        else:
            found[name, config.seed] = FinishedRun(workdir, config)
    if not found:
        raise UserError(f"--collect: no finished run of this table below {folder}")
    return list(found.values())


def _is_fixed(field: str) -> bool:
    return field not in _FREE and not field.endswith(("_dir", "_path"))


def _workdirs(folder: Path) -> Iterator[Path]:
    for path, folders, files in os.walk(folder):
        folders.sort()
        if workdirs.CONFIG in files:
            folders.clear()
            yield Path(path)


def is_current(path: Path, workdir: Path) -> bool:
    """Return whether a file is newer than the finished run in a workdir."""
    log = workdir / "metrics.jsonl"
    if not log.exists() or not path.exists():
        return False
    log_and_config = log, workdir / workdirs.CONFIG
    if path.stat().st_mtime < max(file.stat().st_mtime for file in log_and_config):
        return False
    return log.read_bytes().count(b"\n") == workdirs.load_config(workdir).num_epochs
