"""The command that reruns tables tells mistakes in one line."""

import pytest
from absl import flags
from absl.testing import flagsaver

from mi_classifier.errors import UserError


@pytest.mark.parametrize(
    ("arguments", "seeds", "words"),
    [
        ([], 1, "give one table: 2, 3, 3-cub, 4"),
        (["2", "3"], 1, "give one table"),
        (["33"], 1, "table: unknown value '33'.*2, 3, 3-cub, 4"),
        (["2"], 0, "--seeds: must be at least 1, not 0"),
    ],
)
def test_arguments_are_checked(arguments, seeds, words):
    from mi_classifier.console import tables as command  # defines flags

    if not flags.FLAGS.is_parsed():
        flags.FLAGS(["tables"])
    with flagsaver.flagsaver(seeds=seeds), pytest.raises(UserError, match=words):
        command.main(arguments)


@pytest.mark.slow
def test_an_unknown_flag_is_told_in_one_line(run_script, tmp_path):
    script = ("-m", "mi_classifier.tables", "2", "--seed=3")
    result = run_script(*script, cwd=tmp_path, check=False)
    assert result.returncode == 2
    (line,) = result.stderr.strip().splitlines()
    assert "--seed: no such flag, did you mean 'seeds'?" in line
    assert not list(tmp_path.iterdir())
