"""The channel's table holds our estimates beside the closed form."""

import pytest
from PIL import Image


@pytest.mark.slow
def test_channel_shows_the_closed_form(rerun, tmp_path):
    changes = ("num_epochs=1", "batch_size=20")
    table = rerun("channel", only=("0",), changes=changes)
    (clean,) = table.results["0"]
    assert clean["truth"] > 2
    assert table.row("0")[2] == f"{clean['truth']:.4f}"
    assert table.row("0")[3] == f"{clean['nats']:.4f}"
    assert Image.open(tmp_path / "channel.png").size[0] > 300
