"""Archives are read member by member; bombs, links and damage are refused."""

import contextlib
import gzip
import io
import tarfile
import tracemalloc
import zipfile

import numpy as np
import pytest

from mi_classifier.data.archive import read_members
from mi_classifier.errors import UserError

FILES = {"set/a.txt": b"one", "set/deep/b.txt": b"two", "set/c.bin": b"no"}


def write_tar(path, files, mode="w:gz", links=()):
    with tarfile.open(path, mode) as archive:
        for name, content in files.items():
            member = tarfile.TarInfo(name)
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))
        for name, kind in links:
            member = tarfile.TarInfo(name)
            member.type, member.linkname = kind, "/etc/passwd"
            archive.addfile(member)
    return path


def write_zip(path, files):
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in files.items():
            archive.writestr(name, content)
    return path


def write_folder(path, files):
    for name, content in files.items():
        (path / name).parent.mkdir(parents=True, exist_ok=True)
        (path / name).write_bytes(content)
    return path


def texts(path):
    return dict(read_members(path, "set", lambda name: name.endswith(".txt")))


@pytest.mark.parametrize("write", [write_tar, write_zip, write_folder])
def test_members_are_read_below_the_root(tmp_path, write):
    path = write(tmp_path / "archive", FILES)
    assert texts(path) == {"a.txt": b"one", "deep/b.txt": b"two"}
    if path.is_dir():  # the path may be the root itself
        assert texts(path / "set") == texts(path)


@pytest.mark.parametrize("name", ["../out.txt", "/out.txt", "set/../../out.txt"])
@pytest.mark.parametrize("write", [write_tar, write_zip])
def test_names_that_lead_out_of_the_archive_are_refused(tmp_path, write, name):
    path = write(tmp_path / "archive", FILES | {name: b"bad"})
    with pytest.raises(UserError, match=r"refused, because .* leads out of it"):
        texts(path)


@pytest.mark.parametrize("kind", [tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.FIFOTYPE])
def test_links_are_refused(tmp_path, kind):
    path = write_tar(tmp_path / "archive", FILES, links=[("set/x.txt", kind)])
    with pytest.raises(UserError, match=r"refused, because 'set/x.txt' is a link"):
        texts(path)
    zipped = tmp_path / "zipped"
    with zipfile.ZipFile(zipped, "w") as archive:
        member = zipfile.ZipInfo("set/x.txt")
        member.external_attr = 0o120777 << 16
        archive.writestr(member, "/etc/passwd")
    with pytest.raises(UserError, match="is a link"):
        texts(zipped)


def test_a_bomb_is_refused_before_it_is_read(tmp_path, monkeypatch):
    monkeypatch.setattr("mi_classifier.data.archive.MOST_BYTES", 1_000)
    path = write_zip(tmp_path / "archive", {"set/a.txt": bytes(10_000)})
    with pytest.raises(UserError, match=r"refused, because set/a.txt has 10000 bytes"):
        texts(path)


@pytest.mark.parametrize("mode", ["w:gz", "w:bz2", "w:xz", "zip"])
def test_an_archive_that_inflates_too_much_is_refused(tmp_path, monkeypatch, mode):
    """One unwanted member, many small ones, or bytes after the end may inflate."""
    monkeypatch.setattr("mi_classifier.data.archive.MOST_IN_ALL", 100_000)
    path = tmp_path / "archive"
    many = {f"set/{i}.txt": bytes(10_000) for i in range(11)}
    if mode == "zip":
        write_zip(path, many)
    else:
        write_tar(path, FILES | {"set/huge.bin": bytes(100_001)}, mode)
        with pytest.raises(UserError, match="refused, because the archive has 1"):
            texts(path)
        write_tar(path, many, mode)
    with pytest.raises(UserError, match=r"refused, because the archive has 1[012]"):
        texts(path)
    if mode == "w:gz":
        write_tar(path, FILES, "w")
        path.write_bytes(gzip.compress(path.read_bytes() + bytes(200_000)))
        with pytest.raises(UserError, match="refused, because the archive has"):
            texts(path)


def test_many_empty_members_do_not_fill_the_memory(tmp_path):
    peaks = []
    for count in (100, 10_000):
        path = tmp_path / str(count)
        with tarfile.open(path, "w:gz", compresslevel=1) as archive:
            for i in range(count):
                archive.addfile(tarfile.TarInfo(f"set/{i}"))
        texts(path)  # imports
        tries = []
        for _ in range(3):  # threads of other tests may allocate meanwhile
            tracemalloc.start()
            assert texts(path) == {}
            tries.append(tracemalloc.get_traced_memory()[1])
            tracemalloc.stop()
        peaks.append(min(tries))
    assert peaks[1] < peaks[0] + 2**20


@pytest.mark.parametrize("write", [write_tar, write_zip])
def test_truncated_and_missing_archives_are_named(tmp_path, write):
    content = bytes(range(256)) * 40
    path = write(tmp_path / "archive", {f"set/{i}.txt": content for i in range(9)})
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(UserError, match=r"archive: .*(truncated|damaged)"):
        texts(path)
    path.write_bytes(b"no archive at all")
    with pytest.raises(UserError, match="no archive"):
        texts(path)
    with pytest.raises(UserError, match="no such archive or folder"):
        texts(tmp_path / "nowhere")


@pytest.mark.parametrize("rest", [b"\n", bytes(100)])
def test_bytes_after_a_zip_archive_are_ignored(tmp_path, rest):
    path = write_zip(tmp_path / "archive", FILES)
    expected = texts(path)
    path.write_bytes(path.read_bytes() + rest)
    assert texts(path) == expected


def test_an_unwanted_member_that_leads_out_is_refused_too(tmp_path):
    for write in (write_tar, write_zip):
        path = write(tmp_path / write.__name__, FILES | {"../../cron.d/x": b"bad"})
        with pytest.raises(UserError, match=r"leads out of it"):
            texts(path)


def test_a_zip_yields_no_more_than_it_announces(tmp_path):
    path = write_zip(tmp_path / "archive", {"set/a.txt": bytes(1_000_000)})
    forged = path.read_bytes().replace(
        (1_000_000).to_bytes(4, "little"), (100).to_bytes(4, "little")
    )
    path.write_bytes(forged)
    with pytest.raises(UserError, match=r"damaged"):
        texts(path)


def test_a_header_that_fills_the_memory_is_refused(tmp_path):
    path = tmp_path / "archive"
    with tarfile.open(path, "w:gz", format=tarfile.PAX_FORMAT) as archive:
        member = tarfile.TarInfo("set/a.txt")
        member.pax_headers = {"comment": "x" * 2_000_000}
        archive.addfile(member)
    with pytest.raises(UserError, match=r"a header of 2\d+ bytes"):
        texts(path)


def test_random_damage_raises_nothing_but_user_errors(tmp_path):
    generator = np.random.default_rng(0)
    for write in (write_tar, write_zip):
        whole = write(
            tmp_path / "whole", FILES | {"set/d.txt": b"x" * 999}
        ).read_bytes()
        for _ in range(150):
            damaged = bytearray(whole)
            for place in generator.integers(0, len(whole), 3):
                damaged[place] = generator.integers(256)
            (tmp_path / "damaged").write_bytes(damaged)
            with contextlib.suppress(UserError):
                texts(tmp_path / "damaged")


@pytest.mark.parametrize("mode", ["w:gz", "w:bz2", "w:xz", "zip"])
def test_a_flipped_bit_never_changes_a_member_unnoticed(tmp_path, mode):
    generator = np.random.default_rng(0)
    content = {f"set/{i}.txt": generator.bytes(500) for i in range(3)}
    path = tmp_path / "archive"
    if mode == "zip":
        write_zip(path, content)
    else:
        write_tar(path, content, mode)
    whole, expected = path.read_bytes(), texts(path)
    refused = 0
    for position in generator.integers(0, 8 * len(whole), 300):
        damaged = bytearray(whole)
        damaged[position // 8] ^= 1 << position % 8
        path.write_bytes(damaged)
        try:
            found = texts(path)
        except UserError:
            refused += 1
        else:  # the bit was in a date, for example
            assert found == expected
    assert refused > 200
