"""Tables of boxes: every spelling gives the same boxes, and a doubt is an error."""

import hypothesis
import hypothesis.strategies as st
import numpy as np
import pytest
from PIL import Image

from mi_classifier.data import box_conventions, box_table
from mi_classifier.errors import UserError

WIDTH, HEIGHT = 48, 32
NAMES = [
    f"{split}/{c}/{i}.png" for split in ("train", "val") for c in "ab" for i in "01234"
]
# One box for each image, half-open corners in pixels, all over the images.
GENERATOR = np.random.default_rng(0)
FIRST = GENERATOR.integers(0, (WIDTH - 4, HEIGHT - 4), (len(NAMES), 2))
BOXES = np.concatenate(
    [FIRST, GENERATOR.integers(FIRST + 2, (WIDTH + 1, HEIGHT + 1))], 1
)
BOXES[0, 2:] = (WIDTH, HEIGHT)  # half-open boxes reach the end of an image
SCALE = np.array([WIDTH, HEIGHT, WIDTH, HEIGHT])


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    root = tmp_path_factory.mktemp("photos")
    for name in NAMES:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (WIDTH, HEIGHT)).save(root / name)
    return root


def read(root, text, stated="auto", left_out=()):
    """The table's boxes in pixels by image, and its notes."""
    table = root / "boxes.csv"
    table.write_bytes(text if isinstance(text, bytes) else text.encode())
    files = {name: root / name for name in NAMES}
    found = box_table.read(table, root, files, left_out, stated)
    boxes = {name: np.array(own) * SCALE for name, own in found.boxes.items()}
    return boxes, " ".join(found.notes)


def text_of(header, numbers, names=NAMES, separator=","):
    rows = [[name, *map(str, row)] for name, row in zip(names, numbers, strict=True)]
    return "\n".join(map(separator.join, [header.split(","), *rows])) + "\n"


def assert_right(boxes):
    found = np.concatenate([boxes[name] for name in NAMES])
    np.testing.assert_allclose(found, BOXES, atol=1e-9)


def sizes(corners=BOXES):
    return np.concatenate([corners[:, :2], corners[:, 2:] - corners[:, :2]], 1)


def centers():
    return np.concatenate([(BOXES[:, :2] + BOXES[:, 2:]) / 2, sizes()[:, 2:]], 1)


@pytest.mark.parametrize(
    ("header", "numbers"),
    [
        ("path,x0,y0,x1,y1", BOXES),
        ("Image,XMin,YMin,XMax,YMax", BOXES),
        ("filename,left,top,right,bottom", BOXES),
        ("name,x1,y1,x2,y2", BOXES),
        ("image_path,x_min,y_min,x_max,y_max", BOXES),
        ("file,bbox_xmin,bbox_ymin,bbox_xmax,bbox_ymax", BOXES),
        ("path,y0,x0,y1,x1", BOXES[:, [1, 0, 3, 2]]),
        ("path,x,y,width,height", sizes()),
        ("path,x,y,w,h", sizes()),
        ("path,left,top,width,height", sizes()),
        ("path,cx,cy,w,h", centers()),
        ("path,x_center,y_center,width,height", centers()),
        ("path,width,x,height,y", sizes()[:, [2, 0, 3, 1]]),
    ],
)
def test_the_header_decides_what_the_numbers_are(root, header, numbers):
    boxes, notes = read(root, text_of(header, numbers))
    assert_right(boxes)
    assert "20 boxes of 20 images" in notes


@pytest.mark.parametrize(
    ("header", "numbers", "stated"),
    [
        ("path,x0,y0,x1,y1", BOXES / SCALE, "fractions"),
        ("path,cx,cy,w,h", centers() / SCALE, "fractions"),
        ("path,x,y,width,height", 100 * sizes() / SCALE, "percent"),
        ("path,x0,y0,x1,y1", BOXES - [0, 0, 1, 1], "last_pixel"),
        ("path,x0,y0,x1,y1", sizes(), "sizes"),
        ("path,x,y,w,h", BOXES, "corners"),
        ("path,x,y,w,h", BOXES - [0, 0, 1, 1], " corners, last_pixel"),
    ],
)
def test_what_is_stated_overrules_the_header(root, header, numbers, stated):
    assert_right(read(root, text_of(header, numbers), stated)[0])


PLAIN = text_of("path,x0,y0,x1,y1", BOXES)


@pytest.mark.parametrize(
    "change",
    [
        lambda text: text.replace("\n", "\n\n"),
        lambda text: text + "\n , ,, ,\n\n",
        lambda text: text.replace(",", ", "),
        lambda text: text.replace(",", " ;"),
        lambda text: text.replace(",", "\t"),
        lambda text: text.replace("\n", "\r\n"),
        lambda text: text.replace("/", "\\"),
        lambda text: text.replace("train", "./train"),
        lambda text: text.replace(".png", ".PNG"),
        lambda text: text.replace("train/a/0.png", '"train/a/0.png"'),
        lambda text: "\ufeff" + text,
        lambda text: text.encode("utf-16"),
        lambda text: text.replace("\n", ",bird,0.9\n").replace(
            "y1,bird,0.9", "y1,class,score"
        ),
        lambda text: text.replace("\n", ",48,32\n").replace(
            "y1,48,32", "y1,width,height"
        ),
    ],
)
def test_spelling_is_no_matter(root, change):
    assert_right(read(root, change(PLAIN))[0])


@pytest.mark.parametrize(
    "start", ["{root}/", "{root.name}/", "/elsewhere/{root.name}/"]
)
def test_paths_may_start_at_or_above_the_root(root, start):
    names = [start.format(root=root) + name for name in NAMES]
    assert_right(read(root, text_of("path,x0,y0,x1,y1", BOXES, names))[0])


def test_folders_may_be_left_off_unless_several_images_have_the_name(root):
    with pytest.raises(
        UserError, match=r"line 2: 0.png may be train/a/0.png or train/b/0"
    ):
        read(root, "path,x0,y0,x1,y1\n0.png,1,2,30,20\n")
    Image.new("RGB", (WIDTH, HEIGHT)).save(root / "only.png")
    files = {"val/a/only.png": root / "only.png"}
    (root / "boxes.csv").write_text("path,x0,y0,x1,y1\nONLY.png,12,8,24,16\n")
    boxes = box_table.read(root / "boxes.csv", root, files).boxes
    np.testing.assert_allclose(boxes["val/a/only.png"], [(0.25, 0.25, 0.5, 0.5)])


def changed(row, numbers=BOXES):
    return np.concatenate([numbers[:3], [row], numbers[4:]])


SMALL = BOXES / 2  # drawn on copies of half the size


@pytest.mark.parametrize(
    ("numbers", "message"),
    [
        (BOXES / SCALE, r"looks like fractions .* state --config.data.boxes=fractions"),
        (
            np.clip(BOXES / SCALE + 0.001, 0, 1.001),
            r"state --config.data.boxes=fractions",
        ),
        (sizes(), r"fit as x,y,width,height in pixels: .*data.boxes=sizes"),
        (
            [[4 + i % 15, 5, 20, 20] for i in range(20)],
            "data.boxes=sizes, or --config.data.boxes=corner",
        ),
        (
            changed([4, 5, 4, 20], BOXES - [0, 0, 1, 1]),
            r"line 5: .* last pixel .* state --config.data.boxes=last_pixel",
        ),
        (3 * BOXES, r"20 of 20 boxes; or were they drawn on images of another size\?"),
        (1.9 * BOXES, r"fit as .* in percent, .* images of another size\?"),
        (
            SMALL,
            r"=sizes, or --config.data.boxes=corners, or scale them .* smaller copies",
        ),
        (
            changed([9, 9, 5, 12]),
            r"line 5: train/a/3.png: .*\(9, 9, 5, 12\).* is empty",
        ),
        (changed([-3, 9, 5, 12]), r"line 5: .* outside of the image of 48 x 32 pixels"),
        (
            changed([40, 9, 50, 12]),
            r"line 5: .* outside of the image of 48 x 32 pixels",
        ),
        (changed([4, 5, 4, 20]), r"line 5: .* is empty"),
        (changed([48.2, 5, 48.8, 20]), r"line 5: .* is empty or outside"),
        (
            changed([0.1, 0.2, 0.8, 0.9]),
            r"line 5: .* fractions .* other lines have pixels",
        ),
        (changed(["nan", 5, 4, 20]), r"line 5: a number of the box is not finite"),
        (changed(["inf", 5, 4, 20]), r"line 5: a number of the box is not finite"),
        (changed(["", 5, 4, 20]), r"line 5: not path,x0,y0,x1,y1"),
        (changed(["4px", 5, 4, 20]), r"line 5: not path,x0,y0,x1,y1"),
    ],
)
def test_a_doubt_or_a_wrong_box_is_an_error(root, numbers, message):
    with pytest.raises(UserError, match=message):
        read(root, text_of("path,x0,y0,x1,y1", numbers))


def test_boxes_that_all_end_one_pixel_early_are_a_doubt(root):
    numbers = [[i, i, WIDTH - 1, HEIGHT - 1] for i in range(20)]
    with pytest.raises(
        UserError, match=r"state --config.data.boxes=last_pixel, or .*half_open"
    ):
        read(root, text_of("path,x0,y0,x1,y1", numbers))
    read(root, text_of("path,x0,y0,x1,y1", numbers), "half_open")


def test_corners_under_a_header_of_sizes_are_noticed(root):
    with pytest.raises(UserError, match=r"all boxes fit as x0,y0,x1,y1.*=corners"):
        read(root, text_of("path,x,y,width,height", BOXES))


def test_boxes_of_smaller_copies_are_noticed(root):
    text = text_of("path,x,y,w,h", sizes(SMALL))
    with pytest.raises(UserError, match=r"beyond 50% .* 50% .*data.boxes=pixels"):
        read(root, text)
    read(root, text, "pixels")


def test_few_boxes_that_fit_as_sizes_too_are_read_by_the_header_and_told(root):
    boxes, notes = read(root, "path,x0,y0,x1,y1\ntrain/a/0.png,4,5,20,20\n")
    np.testing.assert_allclose(boxes["train/a/0.png"], [[4, 5, 20, 20]])
    assert "x,y,width,height too: if they are, state --config.data.boxes=sizes" in notes
    assert "image without a box: 19" in notes


def test_rounding_may_move_a_side_out_of_the_image_by_a_pixel(root):
    boxes, _ = read(root, "path,x0,y0,x1,y1\ntrain/a/0.png,-0.7,5,48.9,32.5\n")
    np.testing.assert_allclose(boxes["train/a/0.png"], [[0, 5, 48, 32]])


def test_repeated_lines_and_lines_without_a_box_are_counted(root):
    first = PLAIN.splitlines()[1]
    again = first.replace("train", "./train")
    text = f"{PLAIN}{first}\n{again}\nval/a/1.png,,,,\nx.pdf,1,1,9,9\n"
    boxes, notes = read(root, text, left_out=["x.pdf"])
    assert_right(boxes)
    for told in ("without numbers: 1", "counted once: 2", "left out: 1"):
        assert told in notes


def test_several_boxes_of_an_image_keep_their_order(root):
    text = "path,x0,y0,x1,y1\n" + "".join(
        f"train/a/0.png,{x},3,{x + 20},30\n" for x in (20, 4, 11)
    )
    found = read(root, text)[0]["train/a/0.png"]
    np.testing.assert_allclose(found[:, 0], [20, 4, 11])


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "the first line must be path,x0,y0,x1,y1"),
        ("path,x0,y0,x1,y1\n", "holds no box; add lines, or remove the file"),
        ("path,x0,y0,x1,y1\nval/a/0.png,0,0,0,0\n", "is empty or outside"),
        (PLAIN.split("\n", 1)[1], "the first line must be"),
        (PLAIN.replace("y1", "x1"), "the first line must be"),
        (
            PLAIN.replace("train/a/3.png", "train/a/33.png"),
            "the nearest is train/a/3.png",
        ),
        (
            PLAIN.replace("\n", ",64,32\n").replace("y1,64,32", "y1,width,height"),
            r"line 2: says that train/a/0.png has 64 x 32 pixels, .* 48 x 32; scale",
        ),
    ],
)
def test_a_wrong_table_is_named(root, text, message):
    with pytest.raises(UserError, match=message):
        read(root, text)


@pytest.mark.parametrize(
    "stated", ["boxes", "corners,sizes", "auto,pixels", "sizes,last_pixel", "", "pixel"]
)
def test_a_wrong_statement_is_named(stated):
    with pytest.raises(UserError, match=r"^data.boxes: "):
        box_conventions.parse(stated)


def test_the_last_pixel_of_a_width_is_refused(root):
    with pytest.raises(UserError, match=r"last_pixel is for corners"):
        read(root, text_of("path,x,y,w,h", sizes()), "last_pixel")


@pytest.mark.parametrize(
    "content", [b"\0", b'"', b"\xff\xfe\0", b"path,x0,y0,x1,y1\n\0\xff"]
)
def test_damage_gives_an_error_of_one_line(root, content):
    with pytest.raises(UserError):
        read(root, content)


# By separators and names that the reader knows, and anything else.
CELLS = st.sampled_from(
    [
        "path",
        "x0",
        "y0",
        "x1",
        "y1",
        "w",
        "h",
        "\n",
        ",",
        ";",
        "train/a/0.png",
        "1",
        "9",
    ]
) | st.text(max_size=3)


@hypothesis.settings(max_examples=200, deadline=None, derandomize=True, database=None)
@hypothesis.given(cells=st.lists(CELLS), is_headed=st.booleans())
def test_any_text_is_read_or_refused(root, cells, is_headed):
    text = "path,x0,y0,x1,y1\n" * is_headed + "".join(cells)
    try:
        boxes, _ = read(root, text.encode("utf-8", "surrogatepass"))
    except UserError:
        return
    for own in boxes.values():
        assert (own[:, :2] < own[:, 2:]).all() and (own >= 0).all()
        assert (own <= SCALE).all()
