"""Downloads try mirrors in turn, resume, and are checked before use."""

import functools
import http.server
import threading

import pytest

from mi_classifier.data import download, mnist_archive
from mi_classifier.errors import UserError
from tests.data.test_mnist import checksums


class Handler(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *args):
        del args

    def do_GET(self):
        self.server.requests.append(self.path)
        if self.path.startswith("/short/"):
            body = b"x" * 10
            self.send_response(200)
            self.send_header("Content-Length", "1000")
            self.end_headers()
            self.wfile.write(body)
        elif self.path.startswith("/ftp/"):
            self.send_response(302)
            self.send_header("Location", "ftp://127.0.0.1:9/a")
            self.end_headers()
        elif self.path.startswith("/slow/"):
            self.send_part(len(self.server.requests) * 400)
        else:
            super().do_GET()

    def send_part(self, end):
        """Sends CONTENT from the requested byte up to `end`, then breaks off."""
        start = int(self.headers.get("Range", "bytes=0-")[6:-1])
        self.send_response(206 if start else 200)
        self.send_header("Content-Length", str(len(CONTENT) - start))
        self.end_headers()
        self.wfile.write(CONTENT[start:end])


CONTENT = bytes(range(250)) * 4


@pytest.fixture
def serve(archive):
    """A local server: /archive/ is whole, /short/ breaks off, the rest is 404."""
    handler = functools.partial(Handler, directory=archive.parent)
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        server.requests = []
        threading.Thread(target=server.serve_forever, daemon=True).start()
        server.root = f"http://127.0.0.1:{server.server_port}/"
        yield server
        server.shutdown()


def test_mirrors_are_tried_in_turn(serve, archive, tmp_path, monkeypatch):
    monkeypatch.setattr(mnist_archive, "SHA256", checksums(archive))
    mirrors = [f"{serve.root}{name}/" for name in ("nothing", "short", archive.name)]
    mnist_archive.fetch(tmp_path / "got", mirrors)
    assert len(list((tmp_path / "got").iterdir())) == 4  # no temporary files are left
    assert mnist_archive.read(tmp_path / "got")[1] == "standard"
    # A broken download is tried again; a complete file is not fetched again.
    assert len(serve.requests) == 1 + 2 + 4
    mnist_archive.fetch(tmp_path / "got", mirrors)
    assert len(serve.requests) == 7


def test_wrong_content_never_gets_the_files_name(serve, archive, tmp_path):
    with pytest.raises(UserError, match=r"archive_dir=FOLDER.*content is not MNIST's"):
        mnist_archive.fetch(tmp_path / "got", [f"{serve.root}{archive.name}/"])
    assert list((tmp_path / "got").iterdir()) == []


def test_a_server_that_leads_to_ftp_is_not_followed(serve, tmp_path):
    with pytest.raises(UserError, match=r"leads to ftp:.*, which is no web address"):
        download.fetch(["a"], [serve.root + "ftp/"], tmp_path, None, "help")


def test_the_message_holds_the_answer_of_every_mirror(serve, tmp_path):
    mirrors = [serve.root + "nothing/", serve.root + "short/", "http://127.0.0.1:9/"]
    with pytest.raises(UserError, match=r"help; .*ound.*broke off.*refused") as error:
        download.fetch(["a"], mirrors, tmp_path, lambda path, name: None, "help")
    assert "\n" not in str(error.value)
    (part,) = tmp_path.iterdir()  # kept, to resume from
    assert part.name.startswith(".a.") and part.read_bytes() == b"x" * 10


def test_a_broken_download_is_resumed(serve, tmp_path, monkeypatch):
    def check(path, name):
        assert name == "a" and path.read_bytes() == CONTENT

    mirrors = [serve.root + "slow/"]
    monkeypatch.setattr(download, "ATTEMPTS", 1)
    for size in (400, 800):  # two commands that were interrupted
        with pytest.raises(UserError, match=f"broke off after {size} of 1000 bytes"):
            download.fetch(["a"], mirrors, tmp_path, check, "help")
    download.fetch(["a"], mirrors, tmp_path, check, "help")
    assert [path.name for path in tmp_path.iterdir()] == ["a"]
    assert len(serve.requests) == 3
    # One command resumes by itself.
    (tmp_path / "a").unlink()
    serve.requests.clear()
    monkeypatch.setattr(download, "ATTEMPTS", 5)
    download.fetch(["a"], mirrors, tmp_path, check, "help")
    assert len(serve.requests) == 3
