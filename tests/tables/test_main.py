"""The command that reruns tables tells mistakes in one line."""

import pytest


@pytest.mark.slow
@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ((), ["give one table", "2, 3, 3-cub, 4"]),
        (("33",), ["'33'", "2, 3, 3-cub, 4"]),
        (("2", "--seeds=0"), ["--seeds: must be at least 1"]),
        (("2", "--seed=3"), ["--seed", "seeds"]),
    ],
)
def test_mistakes_are_told_in_one_line(run_script, tmp_path, arguments, words):
    script = ("-m", "mi_classifier.tables", *arguments)
    result = run_script(*script, cwd=tmp_path, check=False)
    assert result.returncode == 2
    assert len(result.stderr.strip().splitlines()) == 1
    for word in words:
        assert word in result.stderr
