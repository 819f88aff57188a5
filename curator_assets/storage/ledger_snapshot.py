"""An asset's entries in one file beside its folder, so that they are not opened one by one.

A row is the name of an entry's file, the file's mark, and the line that it held. A reader lists the
folder first. A row stands for a file that is listed under its name and with its mark, and no other
does; of the rest the files are read. So a reader gets what it would have got from the files:

- A line was read between two listings that gave the same mark, and a mark is another one once the
  file is written to or replaced: as long as it is listed, the file holds the line. Hence it does
  not matter when a snapshot was written, by whom, or under which lease. An entry that was written
  again under the same token, or edited by hand, has another mark; one that was removed is not
  listed; which token counts is told by the listing alone, as without a snapshot.
- Of a bucket that was listed under the lease and is kept track of since, the line is that of the
  entry in memory: it was read after that listing, and the mark is the same in a second one; or this
  process wrote it, under the token of its lease, a name that nobody else writes, and the second
  listing tells its mark.
- Times of a filesystem advance in steps. Within one of them a file might be replaced, and get the
  number of the one before, without another mark. So a file is left out that changed less than
  `SETTLED_SECONDS` before the first listing. On a network disk that holds as long as its clock is
  not behind this machine's by more.
- The number of the device is left out: each mount may give it another one.
- A snapshot ends in the hash of all of it, and begins with the fields of an entry. One that is
  damaged, missing, of other fields, or of an output that was copied elsewhere, is as good as an
  empty one: that costs time only.
"""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Mapping
from functools import cached_property

from curator_assets.storage import layout
from curator_assets.storage.entries import ENTRY_FIELDS, Entry, encoded, parsed_json, readable
from curator_assets.storage.local_files import LocalMark
from curator_assets.storage.picture import is_own
from curator_assets.storage.store import Store
from curator_assets.storage.written_files import Mark

SETTLED_SECONDS = 2.0

_HASH_BYTES = 64


class Snapshot:
    """The rows of an asset's snapshot; none if there is no whole one.

    Args:
        store: the output.
        asset: whose partitions' entries it holds.
    """

    def __init__(self, store: Store, asset: str) -> None:
        self._store, self._name = store, layout.ledger_snapshot(asset)

    @cached_property
    def _rows(self) -> dict[str, tuple[list[object], bytes]]:
        """Name -> mark and line."""
        try:
            data = self._store.read(self._name)
        except (FileNotFoundError, IsADirectoryError, NotADirectoryError):
            return {}
        rest, told = data[:-_HASH_BYTES], data[-_HASH_BYTES:]
        if hashlib.sha256(rest).hexdigest().encode() != told:
            return {}
        head, *lines = rest.split(b"\n")
        match parsed_json(head):
            case [fields, names, marks] if fields == list(ENTRY_FIELDS):
                return dict(zip(names, zip(marks, lines, strict=True), strict=True))
        return {}

    def __len__(self) -> int:
        return len(self._rows)

    def line(self, name: str, mark: Mark | None) -> bytes | None:
        """What the file of an entry holds that is listed with this mark; None: it must be read."""
        known, line = self._rows.get(name, (None, b""))
        return line if mark is not None and known == _kept(mark) else None


def write_snapshot(store: Store, asset: str) -> None:
    """Put all readable entries of an asset's partitions into its snapshot.

    Raises:
        LeaseLostError: another has taken over the output.
    """
    began_ns, folder = time.time_ns(), layout.ledger_folder(asset)
    before, snapshot = store.marks(folder), Snapshot(store, asset)
    marks = {name: mark for name, mark in before.items() if mark and _is_settled(mark, began_ns)}
    lines = {name: snapshot.line(name, mark) for name, mark in marks.items()}
    entries = (name for name, line in lines.items() if line is None and _is_entry(asset, name))
    for name, data in store.read_each(list(entries)):
        if readable(data):
            lines[name] = data.removesuffix(b"\n")
    after = store.marks(folder)
    rows = [
        (name, mark, line)
        for name, mark in marks.items()
        if (line := lines[name]) is not None and after.get(name) == mark
    ]
    _write(store, layout.ledger_snapshot(asset), rows)


def write_pictured_snapshot(store: Store, asset: str, entries: Mapping[str, Entry]) -> None:
    """The same from memory: one listing, and no file is read.

    Args:
        store: the output; it is pictured.
        asset: whose partitions' entries they are.
        entries: name of the file -> what it held when it was read or written.

    Raises:
        LeaseLostError: another has taken over the output.
    """
    folder = layout.ledger_folder(asset)
    before, after = store.marks(folder), store.marks(folder, afresh=True)
    rows = list[tuple[str, Mark, bytes]]()
    for name, entry in entries.items():
        line, mark = encoded(entry), after.get(name)
        is_mine = is_own(before.get(name)) and mark is not None and mark[0] == len(line)
        if mark is not None and (is_mine or before.get(name) == mark):
            rows.append((name, mark, line.removesuffix(b"\n")))
    _write(store, layout.ledger_snapshot(asset), rows)


def _is_entry(asset: str, name: str) -> bool:
    return layout.ledger_partition(asset, name) is not None


def _write(store: Store, name: str, rows: list[tuple[str, Mark, bytes]]) -> None:
    names, marks = [name for name, _, _ in rows], [_kept(mark) for _, mark, _ in rows]
    head, digest = json.dumps([ENTRY_FIELDS, names, marks]).encode(), hashlib.sha256()
    with store.write(name) as file:
        for part in (head, *(b"\n" + line for _, _, line in rows)):
            digest.update(part)
            file.write(part)
        file.write(digest.hexdigest().encode())


def _kept(mark: Mark) -> list[object]:
    return list(mark._replace(device=0) if isinstance(mark, LocalMark) else mark)


def _is_settled(mark: Mark, began_ns: int) -> bool:
    """Whether another content would have another mark; in a bucket by its ETag or generation."""
    return not isinstance(mark, LocalMark) or mark.changed_ns < began_ns - SETTLED_SECONDS * 1e9
