"""One sample by its image id, from its shard's tables alone."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow.compute as pc

from curator_assets.defs.embed.image_embeddings import IMAGE_EMBEDDINGS
from curator_assets.defs.filter.filter_scores import FILTER_SCORES
from curator_assets.engine.work import Work
from curator_assets.errors import UserError, did_you_mean
from curator_assets.kernels.rules import first_broken_rule
from curator_assets.settings import STATISTIC_COLUMNS, FilterRule
from curator_assets.storage import layout
from curator_assets.storage.arrivals import read_arrivals
from curator_assets.storage.shards.not_taken import not_taken_lines, read_not_taken, since
from curator_assets.storage.shards.pixels import Address
from curator_assets.storage.shards.shard_names import SHARD_SUFFIX
from curator_assets.storage.shards.source import MissingSourceError
from curator_assets.storage.tables.parquet import find_rows, read_table

_COLUMNS = ("image_id", "key", "position", "ext", "format", "content_hash", "error")

REFRESH = "curate refresh"


class UnknownImageError(UserError):
    """No image of this id is stored; says which ids come close, or what has to be made."""


@dataclass(frozen=True)
class Sample:
    """A sample as it was embedded.

    Attributes:
        row: its row of the table of embeddings, without the embedding.
        scores: score -> value, of the scores that are stored.
    """

    shard: str
    row: dict[str, Any]
    scores: dict[str, float | None]

    @property
    def image_id(self) -> str:
        """`<shard>/<key>`."""
        return str(self.row["image_id"])

    @property
    def address(self) -> Address:
        """Shard and position."""
        return self.shard, int(self.row["position"])

    def value(self, column: str) -> float | None:
        """Of a statistic or a score; None if there is none."""
        return (self.row | self.scores).get(column)

    def passes(self, rule: FilterRule) -> bool:
        """Whether a rule keeps it; none does without a value."""
        value = self.value(rule.score)
        kind = np.float64 if isinstance(value, int) else np.float32  # as it is stored
        column = np.array([np.nan if value is None else value], kind)
        return bool(first_broken_rule([column], [rule.min], [rule.max])[0] == 1)


def find_sample(work: Work, image_id: str) -> Sample:
    """The sample of this id: in the shard of the longest name that the id begins with, first.

    Raises:
        UnknownImageError: there is none; says what comes close, or what has to be made.
    """
    embedded = [s for s in _prefixes(image_id) if work.entry(IMAGE_EMBEDDINGS, s)]
    is_it = pc.field("image_id") == image_id
    for shard in embedded:
        columns = [*_COLUMNS, *STATISTIC_COLUMNS]
        rows = find_rows(work.store, layout.embeddings(shard), is_it, columns)
        if rows:
            return Sample(shard, rows[0], _scores(work, shard, is_it))
    raise UnknownImageError(_unknown(work, image_id, embedded))


def _scores(work: Work, shard: str, is_it: pc.Expression) -> dict[str, float | None]:
    if not work.settings.heads or not work.entry(FILTER_SCORES, shard):
        return {}
    rows = find_rows(work.store, layout.scores(shard), is_it)
    return {score: row[score] for row in rows for score in work.settings.heads if score in row}


def _prefixes(image_id: str) -> Iterator[str]:
    """What may be the shard in an image id, the longest first; both it and the key have slashes."""
    shard = image_id
    while "/" in shard:
        shard = shard.rpartition("/")[0]
        yield shard


def _unknown(work: Work, image_id: str, embedded: list[str]) -> str:
    if embedded:
        ids = read_table(work.store, layout.embeddings(embedded[0]), ["image_id"])
        return f"shard {embedded[0]!r} holds no image {image_id!r}" + did_you_mean(
            image_id, ids["image_id"].to_pylist()
        )
    for shard in _prefixes(image_id):
        try:
            work.tars.signature(shard)
        except OSError:
            continue
        if why := _why_not_taken(work, image_id):
            return why
        return f"shard {shard!r} was never embedded; make it: {REFRESH}"
    if why := _why_not_taken(work, image_id):
        return why
    shards = list(read_arrivals(work.store))
    name = next(_prefixes(image_id), image_id)
    near = did_you_mean(name, shards) if "/" in image_id else ""
    return f"no shard of {image_id!r} is known (an image id is <shard>/<key>){near}"


def _why_not_taken(work: Work, asked: str) -> str | None:
    """Why the file, or the shard, that is asked for is not taken; None if nothing is known of it.

    What the last refresh noted tells; a file that it did not see is looked at now.
    """
    location = work.tars.root.rstrip("/") + "/"
    path = asked.removeprefix("./").removeprefix(location)
    shards = [path, path.removesuffix(SHARD_SUFFIX), *_prefixes(path)]
    wanted = [path, f"{path}/", *(shard + SHARD_SUFFIX for shard in shards)]
    noted = read_not_taken(work.store)
    found = {name: noted[name] for name in wanted if name in noted}
    if not found:
        try:
            looked = work.tars.look(work.settings.output)
        except MissingSourceError:
            return None
        new = {shard: looked.shards[shard] for shard in shards if shard in looked.shards}
        _, reasons = work.tars.not_taken(looked, new, work.settings.marker)
        found = since({name: reasons[name] for name in wanted if name in reasons}, noted)
    return next(not_taken_lines(found), None)
