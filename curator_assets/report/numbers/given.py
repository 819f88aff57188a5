"""What the report is made from."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime

from curator_assets.report.numbers.eps_curve import Resolves
from curator_assets.settings import Settings
from curator_assets.storage.shards.not_taken import NotTaken
from curator_assets.storage.shards.source import Source
from curator_assets.storage.store import Store
from curator_assets.storage.tables.pair_tables import RowNumbers


@dataclass(frozen=True)
class Given:
    """What the report is made from.

    Attributes:
        settings: the project's.
        store: where everything is stored, and the report goes.
        tars: the source, for pictures and captions.
        shards: those with verdicts on the present embeddings, in order of arrival.
        behind: shards that the report leaves out, their verdicts being of other embeddings.
        n_taking_part: images that are readable and pass the filters.
        row_numbers: of the images of all shards that were resolved.
        resolver: resolves the stored pairs at any eps.
        why_not: why it was not asked at every eps of the curve; None if it was.
        verdict_files: the tables of marked pairs.
        not_taken: path below the source -> why it is not curated, and since when.
        left_out: why members of these shards' tars belong to no sample -> how many.
        n_unseen_images: images beside the one that decided for their sample.
        made_at: when the report is made; UTC, whole minutes.
    """

    settings: Settings
    store: Store
    tars: Source
    shards: list[str]
    behind: list[str]
    n_taking_part: int
    row_numbers: RowNumbers
    resolver: Resolves
    why_not: str | None
    verdict_files: list[str]
    not_taken: Mapping[str, NotTaken]
    left_out: Mapping[str, int]
    n_unseen_images: int
    made_at: datetime
