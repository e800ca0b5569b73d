"""Tell what a net sees in photos, and where: mi-classifier explain PHOTO FOLDER.

It prints the likeliest classes, and writes pictures with maps and boxes.
"""

from collections.abc import Sequence

from absl import flags

from mi_classifier import cli, commands
from mi_classifier.console import explanation
from mi_classifier.errors import UserError

_WORKDIR = flags.DEFINE_string(
    "workdir",
    "imagenet",
    "a folder that training wrote; imagenet for a net of ImageNet's 1,000 classes.",
)


def main(paths: Sequence[str]) -> None:
    """Explain the photos of these paths."""
    if not paths:
        raise UserError("give photos or folders, as in mi-classifier explain photo.jpg")
    try:
        commands.explain(_WORKDIR.value, paths, explanation.options())
    except UserError as error:  # this command has no such flag
        raise UserError(str(error).removeprefix("--images: ")) from error


def run() -> None:
    """Parse the flags, and call `main`."""
    cli.run(main, positional=True)
