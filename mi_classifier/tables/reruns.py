"""The runs behind a table: a workdir for each cell and seed, trained where missing."""

import dataclasses
import json
import multiprocessing
import os
from collections.abc import Mapping
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any

from ml_collections import ConfigDict

from mi_classifier import config as configs
from mi_classifier import workdir as workdirs
from mi_classifier.errors import UserError


@dataclasses.dataclass(frozen=True)
class Options:
    """How a table is rerun.

    Attributes:
      root: the folder of the table's workdirs; what is written stands beside it.
      seeds: runs a cell, seeded 0, 1, 2, ...
      mine: whether Table 2 runs MINE too.
      archive_dir: of MNIST's idx files, "" to download.
      data_dir: where TFDS keeps data sets, "" for its default.
    """

    root: Path
    seeds: int = 1
    mine: bool = True
    archive_dir: str = ""
    data_dir: str = ""


def config(reference: str, seed: int, options: Options) -> ConfigDict:
    """Loads a config of configs/, such as "gmm.py:balanced", for a seed.

    Raises:
      UserError: there is no such file here.
    """
    if not Path("configs").is_dir():
        raise UserError("no configs/ here; run tables in a clone of the repository")
    loaded = configs.load(f"configs/{reference}")
    loaded.seed = seed
    if "archive_dir" in loaded.data:
        folders = {"archive_dir": options.archive_dir, "data_dir": options.data_dir}
        loaded.data.update(folders)
    return configs.with_absolute_paths(loaded)


def figures(cells: Mapping[Path, ConfigDict], options: Options) -> dict[Path, Any]:
    """Returns the evaluation of each cell's workdir; trains those that are missing.

    Raises:
      UserError: a workdir of another config, or data that cannot be read.
    """
    metrics = {w: w / "evaluation" / "metrics.json" for w in cells}
    for workdir, config in cells.items():
        workdirs.check_free_for(config, workdir)
    compiled = options.root.parent / "compiled"
    missing = [
        (configs.to_json(config), workdir, compiled)
        for workdir, config in cells.items()
        if not _finished(config, workdir, metrics[workdir])
    ]
    processes = min(num_processes(), len(missing))
    if processes > 1:
        spawn = multiprocessing.get_context("spawn")
        with ProcessPoolExecutor(processes, spawn) as pool:
            done = pool.map(_run, *zip(*missing, strict=True))
            for count, workdir in enumerate(done):
                print(f"{count + 1}/{len(missing)}: {workdir}", flush=True)
    else:
        for count, cell in enumerate(missing):
            print(f"{count + 1}/{len(missing)}: {_run(*cell)}", flush=True)
    return {w: json.loads(path.read_text()) for w, path in metrics.items()}


def num_processes() -> int:
    """How many cells to train at once: a small net does not fill two cores."""
    import jax

    return min(os.cpu_count() or 1, 4) if jax.default_backend() == "cpu" else 1


def seed_of(workdir: Path) -> int:
    """Returns the seed that a cell's workdir is named by."""
    return int(workdir.name.removeprefix("seed"))


def _run(config: str, workdir: Path, compiled: Path) -> Path:
    import jax

    from mi_classifier import evaluation, training

    # Cells differ in numbers, seldom in programs.
    jax.config.update("jax_compilation_cache_dir", str(compiled))
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.0)
    training.train(configs.from_json(config), workdir)
    evaluation.evaluate(workdir, quiet=True)
    return workdir


def _finished(config: ConfigDict, workdir: Path, metrics: Path) -> bool:
    log = workdir / "metrics.jsonl"
    if not log.exists() or not metrics.exists():
        return False
    if configs.differences(config, workdirs.load_config(workdir)):
        return False
    if log.stat().st_mtime > metrics.stat().st_mtime:
        return False
    return len(log.read_text().splitlines()) == config.num_epochs
