"""Imports only point down the list of rooms, and a room's questions stay inside it."""

import ast
import re
from pathlib import Path

import pytest

import mi_classifier

PACKAGE = Path(mi_classifier.__file__).parent
FILES = sorted(PACKAGE.rglob("*.py"))
# From the top down; rooms of one line are neighbors and may import each other.
LAYERS = [
    ["console"],
    ["commands"],
    ["tables"],
    ["cli"],
    ["run", "features"],
    ["reporting"],
    ["training"],
    ["evaluation"],
    ["scikit_learn"],
    ["ranking"],
    ["estimate"],
    ["cross_fitting"],
    ["baselines"],
    ["data"],
    ["models"],
    ["storage"],
    ["parallel"],
    [
        "losses",
        "localization",
        "boxes",
        "components",
        "trivial_boxes",
        "wsol_protocol",
        "contours",
        "activation_maps",
        "information",
        "optimization",
    ],
    ["overrides", "usage"],
    ["config"],
    ["errors", "decoding", "forks", "processes", "progress", "rules", "termination"],
    ["text"],
]
RANK = {room: rank for rank, rooms in enumerate(LAYERS) for room in rooms}
GROUND_FLOOR = (
    "losses",
    "localization",
    "boxes",
    "components",
    "trivial_boxes",
    "wsol_protocol",
    "information",
)


def room_of(path):
    return path.relative_to(PACKAGE).parts[0].removesuffix(".py")


def imports(path):
    """The modules that a file imports, also inside functions; not those for types."""
    nodes = [ast.parse(path.read_text())]
    while nodes:
        node = nodes.pop()
        if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.dump(node.test):
            continue
        nodes += ast.iter_child_nodes(node)
        if isinstance(node, ast.Import):
            yield from (name.name for name in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, path
            yield from (f"{node.module}.{name.name}" for name in node.names)


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_imports_point_down(path):
    room = room_of(path)
    if room == "__init__" or path.name == "__main__.py":  # a command calls from the top
        return
    for name in imports(path):
        package, _, rest = name.partition(".")
        if package == "mi_classifier":
            other = rest.partition(".")[0]
            if other == "__version__":
                continue
            assert RANK[room] <= RANK[other], f"{room} imports {other}"


def test_the_ground_floor_is_pure_maths():
    for room in GROUND_FLOOR:
        for name in imports(PACKAGE / f"{room}.py"):
            assert name.partition(".")[0] not in ("flax", "ml_collections", "pathlib")


def test_one_file_names_the_engine():
    naming = [room_of(p) for p in FILES if "jax.pmap(" in p.read_text()]
    assert set(naming) <= {"parallel"}


def test_only_the_commands_ask_which_experiment_a_config_is():
    question = re.compile(r'"method" (not )?in |get\("method"|config\.method|_fits\b')
    asking = [room_of(p) for p in FILES if question.search(p.read_text())]
    assert set(asking) == {"commands"}
