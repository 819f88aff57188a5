"""What the ledger holds of a partition, and the lines of JSON that its files hold of that."""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from pydantic_core import from_json


class StoredFile(NamedTuple):
    """What a file held when it was recorded: its size, and its SHA-256 in hex."""

    n_bytes: int
    sha256: str


@dataclass(frozen=True)
class Entry:
    """How a partition was made: all that staleness is decided by.

    Attributes:
        fingerprint: hash of `inputs`.
        data_version: hash of the content that came out.
        inputs: name -> version of the settings, the code and everything that it was made from.
        files: name below the store's root -> what it held, in the order that they were made.
        checks: name of each check that it passed -> what the check reported.
        warnings: name of each check that it failed without being held up -> likewise.
        state: what the asset itself wants to know next time, plain JSON values.
        reported: likewise of the file of metadata, which no result rests on. `Ledger.write` fills
            it in.
    """

    fingerprint: str
    data_version: str
    inputs: Mapping[str, Any] = field(default_factory=dict)
    files: Mapping[str, StoredFile] = field(default_factory=dict)
    checks: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    warnings: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    state: Mapping[str, Any] = field(default_factory=dict)
    reported: Mapping[str, StoredFile] = field(default_factory=dict, compare=False)


def encoded(entry: Entry) -> bytes:
    """The line of an entry's file; its files are lists, which keeps their order."""
    listed = {
        name: [(file, stored.n_bytes, stored.sha256) for file, stored in files.items()]
        for name, files in (("files", entry.files), ("reported", entry.reported))
    }
    return sealed({**vars(entry), **listed})


def decoded(data: bytes) -> Entry:
    """The inverse of `encoded`.

    Raises:
        ValueError: it is damaged, be it by one byte.
    """
    fields = _parsed(_unsealed(data), ENTRY_FIELDS)
    for name in ("fingerprint", "data_version"):
        if not isinstance(fields[name], str):
            raise ValueError(f"{name} has to be a string")
    for name in ("inputs", "checks", "warnings", "state"):
        if not isinstance(fields[name], dict):
            raise ValueError(f"{name} has to be a mapping")
    if not all(isinstance(told, dict) for name in _CHECKS for told in fields[name].values()):
        raise ValueError("what a check reported has to be a mapping")
    return Entry(**{**fields, **{name: _stored(fields[name]) for name in ("files", "reported")}})


def decoded_again(line: bytes) -> Entry:
    """The same of a line that was decoded before; nothing of it is checked."""
    fields, entry = parsed_json(line), object.__new__(Entry)
    del fields["sha256"]
    for name in ("files", "reported"):
        fields[name] = {file: StoredFile(n_bytes, sha256) for file, n_bytes, sha256 in fields[name]}
    vars(entry).update(fields)  # setting frozen fields one by one takes as long as all the rest
    return entry


def _stored(rows: object) -> dict[str, StoredFile]:
    files = dict[str, StoredFile]()
    for row in rows if isinstance(rows, list) else [None]:
        match row:
            case [str(name), int(n_bytes), str(sha256)] if not isinstance(n_bytes, bool):
                files[name] = StoredFile(n_bytes, sha256)
            case _:
                raise ValueError("files have to be a name, a size and a hash each")
    return files


def readable(data: bytes) -> Entry | None:
    """The same; None if it is damaged."""
    try:
        return decoded(data)
    except ValueError:
        return None


def encoded_metadata(metadata: Mapping[str, Any]) -> bytes:
    """The line of a metadata file."""
    return _line({"values": dict(metadata)})


def decoded_metadata(data: bytes) -> dict[str, Any]:
    """The values of a metadata file.

    Raises:
        ValueError: it is damaged.
    """
    values = _parsed(data, ("values",))["values"]
    if not isinstance(values, dict):
        raise ValueError("values have to be a mapping")
    return values


ENTRY_FIELDS = tuple(known.name for known in dataclasses.fields(Entry))
_CHECKS = ("checks", "warnings")


_SEAL = b'{"sha256": "%s", '
_SEAL_BYTES = len(_SEAL % bytes(64))


def sealed(fields: Mapping[str, Any]) -> bytes:
    """A line of JSON that begins with the hash of all that follows."""
    rest = _line(fields)[1:]
    return _SEAL % hashlib.sha256(rest).hexdigest().encode() + rest


def _unsealed(data: bytes) -> bytes:
    """The line without its hash.

    Raises:
        ValueError: they don't fit: it is not as it was written.
    """
    rest = data[_SEAL_BYTES:]
    if data[:_SEAL_BYTES] != _SEAL % hashlib.sha256(rest).hexdigest().encode():
        raise ValueError("it does not hold what was written")
    return b"{" + rest


def _line(fields: Mapping[str, Any]) -> bytes:
    return (json.dumps(fields, sort_keys=True) + "\n").encode()


def parsed_json(data: bytes) -> Any:
    """What a line of JSON says.

    Raises:
        ValueError: it is none.
    """
    try:
        return from_json(data)  # takes half of the time
    except ValueError:  # also of lone surrogates, which names of files may hold
        return json.loads(data)


def _parsed(data: bytes, names: Sequence[str]) -> dict[str, Any]:
    """A JSON object with fields of these names and no others."""
    try:
        fields = parsed_json(data)
    except RecursionError:
        raise ValueError("nested too deeply") from None
    if not isinstance(fields, dict) or fields.keys() != set(names):
        raise ValueError(f"not an object of {', '.join(names)}")
    return fields
