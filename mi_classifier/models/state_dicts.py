"""Find a net's weights among what a checkpoint holds.

People keep a net's weights beside optimizers, counters, averages and other nets, and
wrappers prefix their names: "module." (DataParallel), "_orig_mod." (compilation).
"""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from mi_classifier.errors import UserError
from mi_classifier.models.torch_files import Opaque
from mi_classifier.text import shown

_DEEPEST = 4  # dictionaries inside of each other
_MOST_PARTS = 50  # of a name, between dots
_MOST_TOLD = 4  # places that an error names


class Weights(NamedTuple):
    """The weights of a net in a checkpoint.

    Attributes:
      tensors: by their names, without a prefix.
      place: where they were, such as "'model', after 'module.'"; "" for a plain file.
      others: how many tensors beside them were not taken, by the first part of the
        name.
    """

    tensors: dict[str, Any]
    place: str
    others: Counter[str]


def find(content: Any, needed: Sequence[str], source: str, net: str) -> Weights:
    """Return the weights in a checkpoint that have every name a net needs.

    Args:
      content: what the file holds.
      needed: names of the net's tensors.
      source: the file, for errors.
      net: the name of the net, for errors.

    Raises:
      UserError: no dictionary has all names, or several have.

    Examples:
      >>> import numpy as np
      >>> content = {"model": {"module.a": np.ones(3)}, "epoch": 5}
      >>> find(content, ["a"], "w.pth", "a net").place
      "'model', after 'module.'"
    """
    if isinstance(content, Opaque):
        raise UserError(
            f"{source}: holds a whole object ({content.name}), not its weights; save "
            "model.state_dict()"
        )
    every = dict(_dictionaries(content))
    places = [
        (key, prefix, n)
        for key, d in every.items()
        for prefix, n in _prefixes(d, needed)
    ]
    fitting = [(key, prefix) for key, prefix, n in places if n == len(needed)]
    if len(fitting) > 1:
        told = ", ".join(_described(*each) for each in fitting[:_MOST_TOLD])
        told += f" and {len(fitting) - _MOST_TOLD} more" * (len(fitting) > _MOST_TOLD)
        raise UserError(
            f"{source}: several weights fit: {told}; save one of them alone"
        )
    if not fitting:
        raise UserError(f"{source}: {_why_none(content, every, places, needed, net)}")
    ((key, prefix),) = fitting
    named = {n: x for n, x in every[key].items() if _is_tensor(n, x)}
    others = Counter(n.split(".")[0] for n in named if not n.startswith(prefix))
    tensors = {n[len(prefix) :]: x for n, x in named.items() if n.startswith(prefix)}
    return Weights(tensors, _described(key, prefix) if key or prefix else "", others)


def _dictionaries(content: Any) -> Iterator[tuple[tuple[str, ...], dict[str, Any]]]:
    """Yield each dictionary in a checkpoint once, and the shortest keys to it."""
    seen: set[int] = set()
    level = [((), content)]
    for _ in range(_DEEPEST + 1):
        inside = []
        for key, value in level:
            if isinstance(value, dict) and id(value) not in seen:
                seen.add(id(value))
                yield key, value
                inside += [((*key, name), each) for name, each in value.items()]
        level = inside


def _is_tensor(name: str, value: Any) -> bool:
    """Return whether a value is a tensor, and no counter of batches."""
    is_array = hasattr(value, "shape") and not isinstance(value, np.dtype)
    return is_array and not name.endswith("num_batches_tracked")


def _prefixes(
    tensors: dict[str, Any], needed: Sequence[str]
) -> Iterator[tuple[str, int]]:
    """Yield prefixes, and after how many tensors' prefix a needed name follows."""
    wanted, counts = set(needed), Counter()
    for name, value in tensors.items():
        if _is_tensor(name, value):
            parts = name.split(".", _MOST_PARTS)
            ends = (len(".".join(parts[i:])) for i in range(len(parts)))
            counts.update(name[:-n] for n in ends if name[-n:] in wanted)
    yield from counts.items()


def _described(key: Sequence[str], prefix: str) -> str:
    if not key and not prefix:
        return "names without a prefix"
    words = [repr(".".join(key))] if key else []
    return ", ".join([*words, f"after {prefix!r}"] if prefix else words)


def _why_none(
    content: Any,
    every: Mapping[tuple[str, ...], dict[str, Any]],
    places: Sequence[tuple[tuple[str, ...], str, int]],
    needed: Sequence[str],
    net: str,
) -> str:
    """Tell why no dictionary has all of the needed names."""
    names = {
        key: [n for n, x in d.items() if _is_tensor(n, x)] for key, d in every.items()
    }
    if not any(names.values()):
        inside = content if isinstance(content, dict) else {}
        objects = {k: v.name for k, v in inside.items() if isinstance(v, Opaque)}
        keys = ", ".join(map(repr, inside)) or type(content).__name__
        unread = [o for o in objects.values() if "_rebuild_" in o or "numpy" in o]
        if unread:
            return (
                f"holds values of a kind that is not read ({unread[0]}); save "
                "model.float().state_dict()"
            )
        whole = next(
            (f"; {k!r} is a whole object ({o})" for k, o in objects.items()), ""
        )
        return (
            f"holds no weights by name, only {keys[:200]}{whole}; save "
            "model.state_dict()"
        )
    key, prefix, _ = max(places, key=lambda place: place[2], default=(None, "", 0))
    if key is None:
        key = max(names, key=lambda key: len(names[key]))
    there = every[key]
    missing = next(n for n in needed if not _is_tensor(n, there.get(prefix + n)))
    odd = there.get(prefix + missing)
    if odd is not None:
        kind = odd.name if isinstance(odd, Opaque) else type(odd).__name__
        return f"{prefix}{missing} is no ordinary tensor ({kind}); save a dense one"
    examples = ", ".join(shown(name) for name in names[key][:3])
    return f"lacks {prefix}{missing}, which {net} has; it holds such as {examples}"
