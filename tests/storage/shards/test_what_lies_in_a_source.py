"""What of a source is taken, what is named instead and why, and what can't be seen."""

import bz2
import gzip
import io
import lzma
import os
import re
import tarfile
from collections.abc import Callable
from pathlib import Path

import pytest
from fsspec.implementations.memory import MemoryFileSystem
from tar_files import write_members

from curator_assets.storage.bucket.bucket import Bucket
from curator_assets.storage.bucket.errors import StoreRefusedError
from curator_assets.storage.shards.not_taken import (
    GONE,
    N_NAMED,
    REFUSED,
    NotTaken,
    not_taken_lines,
    note_refused,
    read_not_taken,
    since,
    still_noted,
    write_not_taken,
)
from curator_assets.storage.shards.shard_names import shard_of
from curator_assets.storage.shards.source import (
    Looked,
    MissingSourceError,
    Source,
    UnseenFolderError,
)
from curator_assets.storage.store import Store


def a_tar() -> bytes:
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w") as tar:
        tar.addfile(tarfile.TarInfo("0.jpg"))
    return file.getvalue()


TAR = a_tar()
HEADER = TAR[:512]
CUT = "it does not end as tars end"

# name -> content, and how the reason why it is not taken begins; None: it is taken
NAMES = {
    "whole.tar": (TAR, None),
    "one_end_block.tar": (HEADER + bytes(512), None),
    "no_members.tar": (bytes(1024), None),
    "deep/er/whole.tar": (TAR, None),
    "name\nof\x1blines.tar": (TAR, None),
    os.fsdecode(b"caf\xe9.tar"): (TAR, None),
    "cut.tar": (TAR[:700], CUT),
    "no_end.tar": (HEADER, CUT),
    "empty.tar": (b"", "it is empty: 0 bytes"),
    "gzip.tar": (gzip.compress(TAR), "compressed (gzip), whatever its name says"),
    "bzip2.tar": (bz2.compress(TAR), "compressed (bzip2)"),
    "xz.tar": (lzma.compress(TAR), "compressed (xz)"),
    "zstd.tar": (b"\x28\xb5\x2f\xfd....", "compressed (zstd)"),
    "page.tar": (b"<!doctype html>".ljust(2000), "it is no tar"),
    "a.tar.gz": (b"x", "compressed (.tar.gz): decompress it"),
    "a.tgz": (b"x", "compressed (.tgz)"),
    "a.tar.bz2": (b"x", "compressed (.tar.bz2)"),
    "a.tar.xz": (b"x", "compressed (.tar.xz)"),
    "a.tar.zst": (b"x", "compressed (.tar.zst)"),
    "a.TGZ": (b"x", "compressed (.TGZ)"),
    "A.TAR": (TAR, "its name ends in .TAR: rename it to end in .tar"),
    "A.Tar": (TAR, "its name ends in .Tar"),
    "a.tar.part": (TAR, "still arriving, by its name (.tar.part)"),
    "a2.tar.gz.part": (TAR, "still arriving, by its name (.tar.gz.part)"),
    "a2.tar.1": (TAR, "a copy of another name"),
    "a3.tar.bak": (TAR, "a copy of another name"),
    "a4.tar~": (TAR, "a copy of another name"),
    "a5.tar (1)": (TAR, "a copy of another name"),
    "a6.tar ": (TAR, "a copy of another name"),
    ".a.tar.x1Y2z3": (TAR, "still arriving: its name is that of a copy"),
    ".hidden.tar": (TAR, "hidden: its name begins with a dot"),
    "._a.tar": (TAR, "hidden"),
    ".ipynb_checkpoints/a.tar": (TAR, "in the folder .ipynb_checkpoints, passed over: hidden"),
    ".cache/deep/a.tar": (TAR, "in the folder .cache, passed over"),
    "__MACOSX/a.tar": (TAR, "in the folder __MACOSX, passed over"),
}
NO_SHARDS = ("notes.txt", "a.tar.done", "a.tar.md5", "b.jpg", "tar", "star", "a.zip")


def look(folder: Path) -> tuple[Looked, dict[str, str]]:
    source = Source(str(folder))
    looked = source.look()
    return looked, source.not_taken(looked, looked.shards, None)[1]


def test_whatever_looks_like_a_shard_is_taken_or_named_with_its_reason(tmp_path):
    for name, (data, _) in NAMES.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(data)
    for name in NO_SHARDS:
        (tmp_path / name).touch()
    looked, reasons = look(tmp_path)
    whole, _ = Source(str(tmp_path)).not_taken(looked, looked.shards, None)
    assert whole == {shard_of(name) for name, (_, why) in NAMES.items() if not why}
    expected = {name: why for name, (_, why) in NAMES.items() if why}
    assert reasons.keys() == expected.keys()
    for name, why in expected.items():
        assert reasons[name].startswith(why), (name, reasons[name])
    assert looked.unseen == {}


@pytest.mark.parametrize("lists_flat", [True, False])
def test_in_a_bucket_the_same_is_taken_and_named(tmp_path, lists_flat):
    fs, root = MemoryFileSystem(), "/what_lies_in_a_bucket"
    for name, (data, _) in NAMES.items():
        fs.pipe_file(f"{root}/{name}", data)
    source = Source(f"memory:/{root}")
    source._bucket.lists_flat = lists_flat
    looked = source.look()
    whole, reasons = source.not_taken(looked, looked.shards, None)
    fs.rm(root, recursive=True)
    assert whole == {shard_of(name) for name, (_, why) in NAMES.items() if not why}
    assert reasons.keys() == {name for name, (_, why) in NAMES.items() if why}
    assert all(why.startswith(NAMES[name][1] or "") for name, why in reasons.items())


def test_a_name_that_is_not_utf_8_is_escaped_unless_another_has_that_name(tmp_path):
    raw = os.fsdecode(b"d\xe9/\xff.tar")
    (tmp_path / raw).parent.mkdir()
    (tmp_path / raw).write_bytes(TAR)
    source = Source(str(tmp_path))
    (shard,) = source.list_shards()
    assert shard == "d\\xe9/\\xff"
    with source.open(shard) as file:
        assert file.read() == TAR
    assert source.signature(shard) == source.list_shards()[shard]
    (tmp_path / "d\\xe9").mkdir()
    (tmp_path / "d\\xe9/\\xff.tar").write_bytes(TAR + TAR)
    looked, reasons = look(tmp_path)
    assert source.signature(shard) == looked.shards[shard]
    assert looked.shards[shard].size == 2 * len(TAR)
    assert "is another's" in reasons[raw]


def test_odd_things_with_the_name_of_a_tar_are_named(tmp_path):
    (tmp_path / "folder.tar").mkdir()
    write_members(tmp_path / "folder.tar" / "in_it.tar", [])
    os.mkfifo(tmp_path / "pipe.tar")
    (tmp_path / "broken.tar").symlink_to(tmp_path / "nowhere.tar")
    (tmp_path / "loop.tar").symlink_to("loop.tar")
    looked, reasons = look(tmp_path)
    assert list(looked.shards) == ["folder.tar/in_it"]
    assert reasons == {
        "broken.tar": "a link that leads to nothing",
        "folder.tar/": "a folder, whatever its name says",
        "loop.tar": "a link that leads to nothing",
        "pipe.tar": "neither a file nor a folder",
    }


def test_links_to_folders_are_followed_once_and_those_that_are_not_are_named(tmp_path):
    source, other = tmp_path / "tars", tmp_path / "other"
    write_members(source / "real/a.tar", [])
    write_members(other / "deep/b.tar", [])
    (source / "a_link_to_real").symlink_to("real")
    (source / "linked").symlink_to(other)
    (source / "linked_again").symlink_to(other / "deep")
    (other / "deep/back_up").symlink_to(other)
    (source / "up").symlink_to("..")
    (source / "to_file.tar").symlink_to(other / "deep/b.tar")
    (source / "gone").symlink_to(tmp_path / "unmounted")
    looked, reasons = look(source)
    assert sorted(looked.shards) == ["linked/deep/b", "real/a", "to_file"]
    assert reasons == {
        "a_link_to_real/": "another name of real/, seen there",
        "gone": "a link that leads to nothing",
        "linked/deep/back_up/": "another name of linked/, seen there",
        "linked_again/": "another name of linked/deep/, seen there",
        "up/": "a link to a folder that holds the source",
    }
    assert looked.why_hidden("gone/a") == "gone/: a link that leads to nothing"
    assert looked.why_hidden("real/b") is None


def test_a_link_into_the_output_leads_nowhere(tmp_path):
    source, output = tmp_path / "tars", tmp_path / "out"
    write_members(output / "shards/a.tar", [])
    write_members(source / "a.tar", [])
    (source / "curated").symlink_to(output / "shards")
    looked = Source(str(source)).look(str(output))
    assert list(looked.shards) == ["a"]
    assert list(looked.passed_over) == ["curated/"]


def test_a_flat_listing_leaves_out_the_output_and_falls_back_on_the_folders(monkeypatch):
    fs, source = MemoryFileSystem(), Source("memory://flat/tars")
    for name in ("a", "x/b", "out/shards/c", "out.2/d", "x/.hidden/e"):
        fs.pipe_file(f"/flat/tars/{name}.tar", TAR)
    source._bucket.lists_flat = True
    looked = source.look("memory://flat/tars/out")
    assert list(looked.shards) == ["a", "out.2/d", "x/b"]
    assert looked.shards == {shard: source.signature(shard) for shard in looked.shards}
    assert looked.passed_over == {
        "x/.hidden/e.tar": "in the folder .hidden, passed over: hidden: its name begins with a dot"
    }

    def fails(*_, **__):
        raise PermissionError("Access Denied")

    with monkeypatch.context() as patch:
        patch.setattr(MemoryFileSystem, "find", fails)
        assert source.look("memory://flat/tars/out") == looked
    for nothing in ("memory://flat/none", "memory://flat/tars/a.tar"):
        source = Source(nothing)
        source._bucket.lists_flat = True
        with pytest.raises(MissingSourceError, match="is not a folder"):
            source.look()
    fs.rm("/flat", recursive=True)


class PartlyBroken(MemoryFileSystem):
    """A bucket that refuses to list some folders."""

    protocol, broken = "partlybroken", ""

    def ls(self, path, detail=True, **kwargs):
        if path.rstrip("/").endswith(self.broken):
            raise PermissionError("Access Denied")
        return super().ls(path, detail, **kwargs)


def test_a_folder_of_a_bucket_that_can_not_be_listed_is_named_and_hides_its_shards():
    source, fs = Source("memory://partly/tars"), PartlyBroken()
    for name in ("a", "x/b", "x/deep/c", "xy/d"):
        fs.pipe_file(f"/partly/tars/{name}.tar", TAR)
    source._bucket, fs.broken = Bucket(fs, source.root), "/x"
    looked = source.look()
    assert list(looked.shards) == ["a", "xy/d"]
    why = "it can't be seen: the store does not allow it (Access Denied)"
    assert looked.unseen.keys() == {"x/"}
    assert looked.unseen["x/"].startswith(why)
    hidden = [s for s in ("a", "x/b", "x/deep/c", "xy/d", "xy/e") if looked.why_hidden(s)]
    assert hidden == ["x/b", "x/deep/c"]
    with pytest.raises(UnseenFolderError, match=re.escape(f"x/: {why}")):
        source.list_shards()
    fs.broken = "tars"
    assert source.look().unseen.keys() == {"./"}
    assert source.look().why_hidden("a") is not None
    fs.rm("/partly", recursive=True)


class NoCredentialsError(Exception):
    """Botocore's, by its name."""


def test_tars_that_a_store_refuses_to_show_are_not_taken_for_bad_ones(monkeypatch):
    source, fs = Source("memory://refused/tars"), MemoryFileSystem()
    fs.pipe_file("/refused/tars/a.tar", TAR)
    looked = source.look()

    def refuse(*_: object, **__: object) -> bytes:
        raise NoCredentialsError("Unable to locate credentials")

    monkeypatch.setattr(MemoryFileSystem, "cat_file", refuse)
    with pytest.raises(StoreRefusedError, match="no credentials were found"):
        source.not_taken(looked, looked.shards, None)
    fs.rm("/refused", recursive=True)


def without_privileges(action: Callable[[], None]) -> None:
    """Do it in a child process that may not do everything, as root may."""
    child = os.fork()
    if child == 0:
        status = 1
        try:
            if os.getuid() == 0:
                os.setgroups([])
                os.setgid(65534)
                os.setuid(65534)
            action()
            status = 0
        finally:
            os._exit(status)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0


def test_what_there_is_no_permission_for_is_named(tmp_path):
    for name in ("open/a", "closed/b", "names_only/c", "sealed"):
        write_members(tmp_path / f"{name}.tar", [])
    for parent in (tmp_path, *list(tmp_path.parents)[:3]):
        parent.chmod(0o755)
    modes = {"closed": 0o000, "names_only": 0o444, "sealed.tar": 0o000}
    for name, mode in modes.items():
        (tmp_path / name).chmod(mode)

    def as_nobody() -> None:
        looked, reasons = look(tmp_path)
        assert list(looked.shards) == ["open/a", "sealed"]
        assert reasons == {
            "closed/": "it can't be seen: Permission denied",
            "names_only/c.tar": "it can't be seen: Permission denied",
            "sealed.tar": "it can't be read: Permission denied",
        }
        assert looked.unseen.keys() == {"closed/", "names_only/c.tar"}
        assert [s for s in ("closed/b", "names_only/c", "open/a") if looked.why_hidden(s)] == [
            "closed/b",
            "names_only/c",
        ]

    try:
        without_privileges(as_nobody)
    finally:
        for name in modes:
            (tmp_path / name).chmod(0o755)


def test_with_a_marker_a_tar_without_it_is_named(tmp_path):
    write_members(tmp_path / "a.tar", [])
    write_members(tmp_path / "b.tar", [])
    (tmp_path / "a.tar.done").touch()
    source = Source(str(tmp_path))
    looked = source.look()
    whole, reasons = source.not_taken(looked, looked.shards, ".done")
    assert whole == {"a"}
    assert reasons == {"b.tar": "no marker file .done of the same name is beside it"}


def test_since_when_is_kept_for_as_long_as_a_file_is_not_taken(tmp_path):
    store = Store(str(tmp_path))
    assert read_not_taken(store) == {}
    before = {"a.tar": NotTaken("cut", "2020"), "gone.tar": NotTaken("cut", "2021")}
    write_not_taken(store, before)
    assert read_not_taken(store) == before
    now = since({"a.tar": "empty", "b.tar": "cut"}, read_not_taken(store))
    assert now["a.tar"] == NotTaken("empty", "2020")
    assert now["b.tar"].since > "2022"
    assert now.keys() == {"a.tar", "b.tar"}


@pytest.mark.parametrize("data", [b"", b"{", b"[]", b'{"a": 1}', b'{"a": {"reason": "x"}}'])
def test_a_damaged_note_tells_nothing(tmp_path, data):
    (tmp_path / "not_taken.json").write_bytes(data)
    assert read_not_taken(Store(str(tmp_path))) == {}


def test_lines_name_the_first_files_of_a_reason_and_escape_what_is_no_text():
    many = {f"{i:03d}.tar": NotTaken("cut", f"2020-{i:03d}") for i in range(N_NAMED + 5)}
    odd = {os.fsdecode(b"\x1b[31m\xff.tar"): NotTaken("empty", "2021")}
    first, second = not_taken_lines(many | odd)
    assert first.startswith(f"{N_NAMED + 5} not taken: 000.tar, 001.tar, ")
    assert first.endswith("019.tar and 5 more: cut (since 2020-000 UTC or later)")
    assert second == "1 not taken: \\x1b[31m\\xff.tar: empty (since 2021 UTC)"


def test_a_marker_is_found_beside_a_tar_in_a_linked_folder(tmp_path):
    source, elsewhere = tmp_path / "source", tmp_path / "elsewhere"
    source.mkdir()
    elsewhere.mkdir()
    for name in ("a.tar", "a.tar.done", "b.tar"):
        (elsewhere / name).write_bytes(TAR)
    (source / "link").symlink_to(elsewhere)
    tars = Source(str(source))
    listed = tars.look().shards
    assert [shard for block in tars.whole(listed, ".done") for shard in block] == ["link/a"]


def test_a_reason_holds_no_secret(tmp_path):
    store = Store(str(tmp_path))
    found = since({"a/": "401 for https://me:hunter22@host/d?sig=abcdef"}, {})
    write_not_taken(store, found)
    assert found["a/"].reason == "401 for https://***@host/d?sig=***"
    assert b"hunter22" not in store.read("not_taken.json")


def test_what_only_a_refresh_tells_is_noted_until_the_source_says_otherwise():
    noted = {
        "a.tar": NotTaken(f"{REFUSED}it is cut", "2026"),
        "b.tar": NotTaken(f"{REFUSED}it is cut", "2026"),
        "c.tar": NotTaken(GONE, "2026"),
        "d.tar": NotTaken(GONE, "2026"),
        "e.tar": NotTaken("it is empty: 0 bytes", "2026"),
    }
    assert still_noted(noted, {"a", "c", "e"}) == {"a.tar": f"{REFUSED}it is cut", "d.tar": GONE}


def test_refused_tars_are_noted_and_taken_out_once_they_are_read(tmp_path):
    store = Store(str(tmp_path))
    write_not_taken(store, {"z.tgz": NotTaken("compressed", "2020")})
    note_refused(store, {"a": "shard 'a': it is cut", "b": "no"}, read=[])
    first = read_not_taken(store)
    assert {path: one.reason for path, one in first.items()} == {
        "a.tar": "refused: it is cut",
        "b.tar": "refused: no",
        "z.tgz": "compressed",
    }
    note_refused(store, {"b": "no"}, read=["a", "z"])
    assert read_not_taken(store) == {path: first[path] for path in ("b.tar", "z.tgz")}
