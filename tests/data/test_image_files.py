"""Images are found by suffix or content; other files are left out for a reason."""

import os

import pytest
from PIL import Image

from mi_classifier.data import image_files


def picture(path, kind="png"):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (8, 8)).save(path, kind)
    return path


def names(folder):
    return [name for name, _ in image_files.search(folder).images]


@pytest.mark.parametrize("kind", ["png", "jpeg", "gif", "bmp", "tiff", "webp"])
@pytest.mark.parametrize("name", ["photo", "photo.heic", "a/photo.001"])
def test_images_are_known_by_their_content(tmp_path, kind, name):
    picture(tmp_path / name, kind)
    assert names(tmp_path) == [name]


@pytest.mark.parametrize(
    "name", ["a.PNG", "a.JPG", "a.jpeg", "a.Tif", "a.webp", "a.jfif"]
)
def test_suffixes_may_be_in_upper_case(tmp_path, name):
    (tmp_path / name).write_bytes(b"broken, which decoding tells")
    assert names(tmp_path) == [name]


@pytest.mark.parametrize(
    ("name", "content", "reason"),
    [
        ("readme.pdf", b"%PDF-1.4", "no image"),
        ("labels.csv", b"a,b\n", "no image"),
        ("clip.mpg", b"\0\0\1\xb3 film", "no image"),
        ("clip.mp4", b"\0\0\0\x18ftypmp42", "no image"),
        ("photo.heic", b"\0\0\0\x18ftypheic\0", "HEIC, convert it to JPEG"),
        ("photo", b"\0\0\0\x18ftypmif1\0", "HEIC, convert it to JPEG"),
        ("photo.NEF", b"II*\0 raw", "camera raw, convert it to JPEG"),
        ("photo.jpg", b"", "empty"),
        (".photo.jpg", b"x", "hidden or of the system"),
        ("._photo.jpg", b"x", "hidden or of the system"),
        (".DS_Store", b"x", "hidden or of the system"),
        ("Thumbs.db", b"x", "hidden or of the system"),
        (".cache/photo.jpg", b"x", "hidden or of the system"),
        ("@eaDir/photo.jpg", b"x", "in a folder of thumbnails or of the system"),
        ("a/__MACOSX/photo.jpg", b"x", "in a folder of thumbnails or of the system"),
        ("a/.thumbnails/photo.jpg", b"x", "in a folder of thumbnails or of the system"),
        ("a/Thumbs/photo.jpg", b"x", "in a folder of thumbnails or of the system"),
    ],
)
def test_other_files_are_left_out_for_a_reason(tmp_path, name, content, reason):
    (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
    (tmp_path / name).write_bytes(content)
    picture(tmp_path / "a" / "real.png")
    found = image_files.search(tmp_path)
    assert [name for name, _ in found.images] == ["a/real.png"]
    assert found.left_out == {reason: [name]}


def test_links_are_followed_but_not_in_circles(tmp_path):
    folder, elsewhere = tmp_path / "folder", tmp_path / "elsewhere"
    picture(folder / "a" / "0.png")
    picture(elsewhere / "b" / "1.png")
    (folder / "linked").symlink_to(elsewhere)
    (folder / "inside.png").symlink_to(folder / "a" / "0.png")
    (folder / "outside.png").symlink_to(elsewhere / "b" / "1.png")
    (folder / "a" / "up").symlink_to(folder)
    (folder / "a" / "above").symlink_to(tmp_path)
    (elsewhere / "back").symlink_to(folder / "a")
    (folder / "a" / "over").symlink_to(elsewhere)
    (folder / "itself").symlink_to(folder / "itself")
    os.mkfifo(folder / "pipe.png")  # reading it would wait for ever
    found = image_files.search(folder)
    real = [path.resolve() for _, path in found.images]
    assert {*real} == {folder / "a" / "0.png", elsewhere / "b" / "1.png"}
    loops = found.left_out["link to a folder that holds it"]
    assert {"a/up", "a/above"} <= {*loops}
    assert found.left_out["dangling link"] == ["itself"]
    assert found.left_out["no regular file"] == ["pipe.png"]
    assert {"linked/b/1.png", "outside.png"} <= {*found.links}
    assert "inside.png" not in found.links
    assert any("links that point out" in text for text in image_files.describe(found))


def test_the_current_folder_can_be_searched(tmp_path, monkeypatch):
    picture(tmp_path / "a" / "b" / "0.png")
    monkeypatch.chdir(tmp_path)
    assert names(image_files.Path()) == ["a/b/0.png"]


def test_find_prints_what_is_left_out(tmp_path, capsys):
    picture(tmp_path / "0.png")
    assert image_files.find(tmp_path) == [("0.png", tmp_path / "0.png")]
    assert not capsys.readouterr().out
    (tmp_path / "x.txt").write_text("text")
    image_files.find(tmp_path)
    told = "left out 1 file (no image: 1, such as x.txt)"
    assert capsys.readouterr().out == f"{tmp_path}: {told}\n"
