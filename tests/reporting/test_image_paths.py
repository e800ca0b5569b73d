"""Every image that a user names has a picture of its own."""

from pathlib import Path

import pytest
from PIL import Image

from mi_classifier.errors import UserError
from mi_classifier.reporting import image_paths


def test_pictures_have_different_names_whatever_the_images_are_called():
    long = "鳥" * 83  # 249 bytes
    files = [
        *("a/x.jpg", "b/x.jpg", "c/x.jpg_2", "d/X.JPG"),
        *(f"{long}.png", f"e/{long}.jpg", f"{long[:-1]}1.png"),
    ]
    names = image_paths.picture_names(map(Path, files))
    assert list(names) == [Path(file) for file in files]
    pictures = list(names.values())
    assert pictures[:2] == ["x.jpg.png", "x.jpg_2.png"]
    assert len({name.casefold() for name in pictures}) == len(files)
    for name in pictures:
        assert len(name.encode("utf-8", "strict")) < 255  # no half of a letter


def test_a_file_that_is_named_twice_is_taken_once(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Image.new("RGB", (4, 4)).save("a.png")
    found = image_paths.find_images(["a.png", str(tmp_path / "a.png"), str(tmp_path)])
    assert found.files == {Path("a.png"): True}


@pytest.mark.parametrize("text", ["", " ", "nowhere.png", "x" * 5000, "a\0b"])
def test_a_path_that_cannot_exist_is_told_in_a_line(text):
    with pytest.raises(UserError, match="--images: no such file or folder"):
        image_paths.find_images([text])
