"""Which names a person takes for those of shards, and why most of them are none."""

from __future__ import annotations

import re

from curator_assets.control_characters import escaped, escaped_bytes

SHARD_SUFFIX = ".tar"

_COMPRESSED = re.compile(
    r"\.(tar\.(gz|bz2|xz|zst|lz4|lz|lzma|z|br|sz|lzo)|tgz|taz|tbz2?|tz2|txz|tlz|tzst)$",
    re.IGNORECASE,
)
_ARRIVING = re.compile(
    r"\.(tar|tgz|tar\.\w{1,4})\.(part|partial|tmp|temp|crdownload|download|filepart|incomplete)$",
    re.IGNORECASE,
)
_TEMPORARY = re.compile(r"^\..+\.tar\.\w{6}$")
"""As `rsync` calls what it has not received whole."""
_ANOTHER = re.compile(
    r"\.tar(\.(\d+|bak|backup|old|orig|copy|save|aria2)|~|\s*\(\d+\)|\s+)$", re.IGNORECASE
)
"""As browsers, `wget`, editors and people call a second copy."""
_OTHER_CASE = re.compile(r"\.tar$", re.IGNORECASE)
_NOT_OF_THE_SOURCE = {
    "__MACOSX": "what macOS adds to archives",
    "lost+found": "what a filesystem keeps for itself",
}


_ESCAPED = re.compile(r"\\x([89a-f][0-9a-f])")


_LIKE_SHARDS = (_OTHER_CASE, _COMPRESSED, _ARRIVING, _TEMPORARY, _ANOTHER)


def shard_of(path: str) -> str:
    r"""The shard of a tar below the source: its path without `.tar`.

    Bytes that are no UTF-8 become `\xe9`, for no partition and no table may hold them.
    """
    return escaped_bytes(path.removesuffix(SHARD_SUFFIX))


def path_without_escapes(shard: str) -> str | None:
    """The path that `shard_of` may have escaped to this shard; None if nothing in it is escaped."""
    path = _ESCAPED.sub(lambda found: chr(0xDC00 + int(found[1], 16)), shard) + SHARD_SUFFIX
    return path if path != shard + SHARD_SUFFIX else None


def printable(path: str) -> str:
    """A path as one reads it, on one line."""
    return escaped(escaped_bytes(path))


def why_hidden(name: str) -> str | None:
    """Why a file or folder of this name is passed over wherever it lies; None if it is not."""
    if why := _NOT_OF_THE_SOURCE.get(name):
        return f"{name} is {why}"
    return "hidden: its name begins with a dot" if name.startswith(".") else None


def would_be_shard(name: str) -> bool:
    """Whether a person takes a file of this name for a shard."""
    return any(p.search(name) for p in _LIKE_SHARDS)


def why_no_shard(name: str) -> str | None:
    """Why a file that one takes for a shard is none by its name; None if it is one."""
    if _TEMPORARY.search(name):
        return "still arriving: its name is that of a copy that is not whole yet"
    if why := why_hidden(name):
        return why
    if name.endswith(SHARD_SUFFIX):
        return None
    if _ANOTHER.search(name):
        return "a copy of another name: rename it to end in .tar if it is a shard of its own"
    suffix = name[name.lower().rfind(".t") :]
    if _COMPRESSED.search(name):
        return f"compressed ({suffix}): decompress it, shards are plain .tar files"
    if _ARRIVING.search(name):
        return f"still arriving, by its name ({suffix})"
    return f"its name ends in {suffix}: rename it to end in .tar"
