"""What lies in the source and is not curated: which file, why, and since when."""

from __future__ import annotations

import json
from collections.abc import Collection, Iterator, Mapping
from dataclasses import asdict, dataclass
from datetime import UTC, datetime

from curator_assets.errors import named
from curator_assets.masking import masked
from curator_assets.storage import layout
from curator_assets.storage.shards.shard_names import SHARD_SUFFIX, printable
from curator_assets.storage.store import Store

N_NAMED = 20
"""Files that are named of one reason."""
REFUSED = "refused: "
"""So begins the reason of a tar that was read, and failed."""

GONE = "gone from the source; what was made of it stays"
"""The reason of a shard that removals are held back of."""

_HIDDEN = ("hidden", "in the folder ")


@dataclass(frozen=True)
class NotTaken:
    """Why a file is not taken, and when that was first seen: a UTC time as ISO 8601 has it."""

    reason: str
    since: str


def read_not_taken(store: Store) -> dict[str, NotTaken]:
    """Path below the source -> why, as the last refresh saw it; empty if nothing tells."""
    try:
        rows = json.loads(store.read(layout.NOT_TAKEN))
        return {path: NotTaken(str(row["reason"]), str(row["since"])) for path, row in rows.items()}
    except (FileNotFoundError, NotADirectoryError, PermissionError):
        return {}
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        return {}


def write_not_taken(store: Store, found: Mapping[str, NotTaken]) -> None:
    """Remember it, if it is not what is remembered."""
    if read_not_taken(store) != found:
        rows = {path: asdict(one) for path, one in found.items()}
        with store.write(layout.NOT_TAKEN) as file:
            file.write((json.dumps(rows, indent=1) + "\n").encode())


def since(reasons: Mapping[str, str], before: Mapping[str, NotTaken]) -> dict[str, NotTaken]:
    """Why files are not taken, with the time since when: now, of those that were not before.

    In name order, but what is hidden comes last: it is seldom meant to be taken.
    """
    now = datetime.now(UTC).isoformat(timespec="seconds")
    ordered = sorted(reasons.items(), key=lambda item: (item[1].startswith(_HIDDEN), item[0]))
    return {
        path: NotTaken(masked(reason), before[path].since if path in before else now)
        for path, reason in ordered
    }


def note_refused(store: Store, refused: Mapping[str, str], read: Collection[str]) -> None:
    """Add the tars that were read and failed, and take out those that no longer do.

    Args:
        store: the output.
        refused: shard -> why.
        read: shards whose tars were read well.
    """
    before = read_not_taken(store)
    reasons = {path: one.reason for path, one in before.items()}
    for shard in read:
        if reasons.get(shard + SHARD_SUFFIX, "").startswith(REFUSED):
            del reasons[shard + SHARD_SUFFIX]
    for shard, why in refused.items():
        reasons[shard + SHARD_SUFFIX] = REFUSED + why.removeprefix(f"shard {shard!r}: ")
    write_not_taken(store, since(reasons, before))


def still_noted(noted: Mapping[str, NotTaken], listed: Collection[str]) -> dict[str, str]:
    """Path -> why, of what only a refresh can tell: tars that were refused, and those held back.

    Args:
        noted: by the last refresh.
        listed: shards whose tars lie in the source.
    """
    return {
        path: one.reason
        for path, one in noted.items()
        if (one.reason.startswith(REFUSED) and path.removesuffix(SHARD_SUFFIX) in listed)
        or (one.reason == GONE and path.removesuffix(SHARD_SUFFIX) not in listed)
    }


def not_taken_lines(found: Mapping[str, NotTaken]) -> Iterator[str]:
    """A line a reason: how many files, the first of them, why, and since when."""
    for reason in dict.fromkeys(one.reason for one in found.values()):
        of_it = {path: one.since for path, one in found.items() if one.reason == reason}
        first, names = when(min(of_it.values())), [printable(path) for path in of_it]
        more = f" and {len(names) - N_NAMED:,} more" if len(names) > N_NAMED else ""
        since_when = f"since {first}" + " or later" * (len(set(of_it.values())) > 1)
        yield (
            f"{len(names):,} not taken: {', '.join(names[:N_NAMED])}{more}: "
            f"{printable(reason)} ({since_when})"
        )


def briefly(found: Mapping[str, NotTaken]) -> str:
    """The first files and their reasons, in a part of a sentence; empty if there are none."""
    return named([f"{printable(path)} ({printable(one.reason)})" for path, one in found.items()])


def when(since: str) -> str:
    """A time as one reads it, to the minute."""
    return f"{since[:16].replace('T', ' ')} UTC"
