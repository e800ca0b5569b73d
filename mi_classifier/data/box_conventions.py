"""What four numbers of a box may mean, and what a whole table of them looks like.

Tables of boxes state neither unit nor order in a common way, so the numbers are checked
against the sizes of their images. A doubt is an error that names what to state.
"""

from collections.abc import Callable, Mapping
from typing import NamedTuple

import numpy as np

from mi_classifier.errors import UserError, choose

FIELD = "data.boxes"
FLAG = f"--config.{FIELD}"
# By shape, what the numbers are.
SHAPES = {
    "corners": "x0,y0,x1,y1",
    "sizes": "x,y,width,height",
    "centers": "x_center,y_center,width,height",
}
_PER_UNIT: Mapping[str, Callable[[np.ndarray], np.ndarray]] = {
    "pixels": np.ones_like,
    "fractions": lambda sizes: sizes,
    "percent": lambda sizes: sizes / 100,
}
ENDS = ("half_open", "last_pixel")  # the latter: x1, y1 is the last pixel of the box
_SLACK = 1.0  # pixels by which rounding may move a side out of the image
_ENOUGH = 8  # different boxes, from which on chance explains no pattern of them all
_REACH = 0.6  # share of width and height that boxes reach at least, all together


class Convention(NamedTuple):
    """What the numbers of a table mean; None for what nobody stated."""

    shape: str | None = None
    unit: str | None = None
    end: str | None = None

    def describe(self) -> str:
        """Return the convention in words."""
        text = f"{SHAPES[self.shape or 'corners']} in {self.unit or 'pixels'}"
        if self.shape != "corners":
            return text
        last = "last pixel included" if self.end == "last_pixel" else "half-open"
        return f"{text}, {last}"


class Columns(NamedTuple):
    """The numbers of N boxes."""

    values: np.ndarray  # [N, 4], as the table has them
    sizes: np.ndarray  # width and height of each box's image in pixels, [N, 2]
    where: Callable[[int], str]  # file and line of a row, for messages


def parse(text: str) -> Convention:
    """Read the words of `data.boxes`: "auto", or what is stated, with commas.

    Raises:
      UserError: a word is unknown, or two words do not fit each other.

    Examples:
      >>> parse("corners,last_pixel")
      Convention(shape='corners', unit=None, end='last_pixel')
    """
    groups = {"shape": tuple(SHAPES), "unit": tuple(_PER_UNIT), "end": ENDS}
    known = {word: name for name, words in groups.items() for word in words}
    stated: dict[str, str] = {}
    for word in (word.strip() for word in text.split(",")):
        group = {"auto": "auto", **known}[choose(word, ("auto", *known), FIELD)]
        if stated.setdefault(group, word) != word:
            raise UserError(f"{FIELD}: both {stated[group]!r} and {word!r} given")
    if "auto" in stated and len(stated) > 1:
        raise UserError(f"{FIELD}: both 'auto' and another word given")
    if (
        stated.get("end") == "last_pixel"
        and stated.get("shape", "corners") != "corners"
    ):
        raise UserError(f"{FIELD}: only corners end at a last_pixel")
    stated.pop("auto", None)
    return Convention(**stated)


def to_fractions(columns: Columns, header: str, stated: Convention) -> np.ndarray:
    """Return boxes as fractions of their images, `(x0, y0, x1, y1)`, clipped to [0, 1].

    Args:
      columns: the numbers, with the sizes of the images.
      header: the shape that the names of the columns say.
      stated: what the user stated; it overrules the header.

    Returns:
      float64 `[N, 4]`.

    Raises:
      UserError: a box is empty or outside of its image, or the numbers look like
        another convention.
    """
    used = read_as(header, stated)
    pixels = _pixels(columns, used)
    if len(pixels):
        if stated.unit is None:
            _check_unit(columns)
        if used.shape == "corners" and stated.end is None:
            _check_end(columns, used, pixels)
        if not _all_fit(columns, used):
            raise UserError(_describe_misfit(columns, used, stated))
        if len(np.unique(columns.values, axis=0)) >= _ENOUGH:
            _check_patterns(columns, used, stated, pixels)
    sides = np.tile(columns.sizes, 2)
    return np.clip(pixels, 0, sides) / sides


def read_as(header: str, stated: Convention) -> Convention:
    """Return the convention by which a table is read, without None."""
    shape = stated.shape or header
    if stated.end == "last_pixel" and shape != "corners":
        raise UserError(
            f"{FIELD}: last_pixel is for corners, and the header says {SHAPES[shape]}; "
            f"state {FLAG}=corners,last_pixel if the header is wrong"
        )
    return Convention(shape, stated.unit or "pixels", stated.end or "half_open")


def also_sizes(columns: Columns, used: Convention) -> bool:
    """Return whether corners would fit as x,y,width,height too."""
    return used.shape == "corners" and _all_fit(columns, used._replace(shape="sizes"))


def _pixels(columns: Columns, convention: Convention) -> np.ndarray:
    """Return half-open corners in pixels, `[N, 4]`."""
    scale = np.tile(_PER_UNIT[convention.unit](columns.sizes), 2)
    values = columns.values * scale
    first, second = values[:, :2], values[:, 2:]
    if convention.shape == "sizes":
        second = first + second
    elif convention.shape == "centers":
        first, second = first - second / 2, first + second / 2
    elif convention.end == "last_pixel":
        second = second + 1
    return np.concatenate([first, second], 1)


def _fit(pixels: np.ndarray, sizes: np.ndarray) -> np.ndarray:
    """Return which boxes are not empty and lie in their images, bool `[N]`."""
    first, second = pixels[:, :2], pixels[:, 2:]
    inside = (first >= -_SLACK) & (second <= sizes + _SLACK)
    # Clipping must not leave an empty box.
    return (inside & (np.maximum(first, 0) < np.minimum(second, sizes))).all(1)


def _all_fit(columns: Columns, convention: Convention) -> bool:
    return bool(_fit(_pixels(columns, convention), columns.sizes).all())


def _check_unit(columns: Columns) -> None:
    """Refuse fractions: no box lies in the first pixel of its image."""
    values = columns.values
    small = (np.abs(values) <= 1.01).all(1)
    if small.all() and values.any():
        raise UserError(
            f"{columns.where(0)}: no number of any box is above 1, which looks like "
            f"fractions of the image; state {FLAG}=fractions, or {FLAG}=pixels"
        )
    broken = small & (values != np.round(values)).any(1)
    if broken.any():
        raise UserError(
            f"{columns.where(int(broken.argmax()))}: looks like fractions of the "
            "image, "
            "but other lines have pixels; write all boxes in one unit"
        )


def _check_end(columns: Columns, used: Convention, pixels: np.ndarray) -> None:
    """Refuse corners that look as if x1 and y1 were the last pixel of the box."""
    first, second = pixels[:, :2], pixels[:, 2:]
    advice = (
        f"looks as if x1 and y1 were the last pixel of the box; state "
        f"{FLAG}=last_pixel, or {FLAG}=half_open"
    )
    # Four zeros mean that there is no box.
    flat = (first == second).any(1) & columns.values.any(1)
    last_pixel = used._replace(end="last_pixel")
    within = (second <= columns.sizes - 1).all()
    if flat.any() and within and _all_fit(columns, last_pixel):
        row = int(flat.argmax())
        raise UserError(
            f"{columns.where(row)}: one of {int(flat.sum()):,} boxes whose x0 = x1 or "
            f"y0 = y1, which {advice}"
        )
    # It is no chance if many different boxes end at this pixel, and none after.
    touching, before = ((second == columns.sizes - i).any(1) for i in (1, 2))
    count = len(np.unique(columns.values[touching], axis=0))
    if within and count >= max(_ENOUGH, 3 * before.sum()) and _all_fit(columns, used):
        raise UserError(
            f"{columns.where(int(touching.argmax()))}: one of {int(touching.sum()):,} "
            f"boxes that end one pixel before the image does, and none ends with the "
            f"image, which {advice}"
        )


def _describe_misfit(columns: Columns, used: Convention, stated: Convention) -> str:
    """Return what is wrong with boxes that do not fit, and what they may be instead."""
    bad = ~_fit(_pixels(columns, used), columns.sizes)
    row = int(bad.argmax())
    box = ", ".join(f"{number:g}" for number in columns.values[row])
    width, height = columns.sizes[row]
    message = (
        f"{columns.where(row)}: its box ({box}), read as {used.describe()}, is "
        "empty or "
        f"outside of the image of {width:g} x {height:g} pixels"
    )
    if bad.sum() > 1:
        message += f", as are {int(bad.sum()):,} of {len(bad):,} boxes"
    is_known = stated.shape or stated.end == "last_pixel"
    shapes = [used.shape] if is_known else list(SHAPES)
    units = [stated.unit] if stated.unit else list(_PER_UNIT)
    others = [used._replace(shape=s, unit=u) for u in units for s in shapes]
    fitting = [o for o in others if o != used and _all_fit(columns, o)]
    if fitting and len(bad) > 1:  # one box alone shows nothing
        other = fitting[0]
        words = [
            word
            for word, own in zip(other, used, strict=True)
            if word != own or word in stated
        ]
        message += (
            f"; all boxes fit as {other._replace(end=None).describe()}: if that is "
            f"right, state {FLAG}={','.join(words)}, else correct the line"
        )
    if 2 * bad.sum() > len(bad) and used.unit not in [o.unit for o in fitting]:
        message += "; or were they drawn on images of another size?"
    return message


def _check_patterns(
    columns: Columns, used: Convention, stated: Convention, pixels: np.ndarray
) -> None:
    """Refuse what is possible, but not by chance in so many different boxes."""
    reach = (pixels[:, 2:] / columns.sizes).max(0)
    is_small = (reach < _REACH).all()
    # A box of corners fits as sizes if its middle lies in the upper left quarter.
    if stated.shape is None and also_sizes(columns, used):
        advice = f"state {FLAG}=sizes, or {FLAG}=corners"
        if is_small:
            advice += ", or scale them if they were drawn on smaller copies"
        raise UserError(
            f"{columns.where(0)}: this and all other boxes fit their images as "
            f"{SHAPES['sizes']} too, and as corners all would lie in the upper left; "
            f"{advice}"
        )
    if stated.unit is None and is_small:
        raise UserError(
            f"{columns.where(0)}: no box reaches beyond {reach[0]:.0%} of an image's "
            f"width and {reach[1]:.0%} of its height, as if they were drawn on smaller "
            f"copies; scale them to the files, or state {FLAG}=percent, or "
            f"{FLAG}=pixels"
        )
