"""What to find in a user's own images; `evaluate.py --help` imports nothing heavier."""

import dataclasses
from collections.abc import Sequence


@dataclasses.dataclass(frozen=True)
class ExplainOptions:
    """The options of `evaluate.py --images`.

    Attributes:
      label: the name of the class whose maps are drawn. "" for the likeliest class; if
        an example may have several labels, for all classes that the net decides for.
      rival: the name of a class for a further map, infoCAM of `label` against it; ""
        for no such map.
      boxes: the formats of the box files, keys of `box_files.FORMATS`; empty for COCO
        if the net has maps, and else for none.
      map: the map that the boxes come from, a key of `MAPS`.
      threshold: what a box holds: the cells above this share of the map's maximum, in
        [0, 1); None for the config's.
      components: the share of the image's area, in (0, 1), that a part of the map must
        have to get a box; None for the largest part alone.
    """

    label: str = ""
    rival: str = ""
    boxes: Sequence[str] = ()
    map: str = "info_cam"
    components: float | None = None
    threshold: float | None = None
