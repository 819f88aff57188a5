"""What the report is made from."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime

import numpy as np

from curator_assets.errors import UserError
from curator_assets.report.numbers.eps_curve import Resolves
from curator_assets.report.numbers.trust import RecallFound
from curator_assets.settings import Settings
from curator_assets.storage.shards.not_taken import NotTaken
from curator_assets.storage.shards.source import Source
from curator_assets.storage.store import Store
from curator_assets.storage.tables.pair_tables import RowNumbers

_EPOCH = "SOURCE_DATE_EPOCH"


def present_minute() -> datetime:
    """The present minute, in UTC, or that of `SOURCE_DATE_EPOCH`, by which a report is repeated.

    Raises:
        UserError: that variable holds no seconds since 1970.
    """
    given = os.environ.get(_EPOCH)
    try:
        at = datetime.now(UTC) if given is None else datetime.fromtimestamp(int(given), UTC)
    except (ValueError, OverflowError, OSError):
        raise UserError(f"{_EPOCH} is {given!r}; expected whole seconds since 1970") from None
    return at.replace(second=0, microsecond=0)


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
        model: a short identity of the weights that the images are embedded with.
        calibration: transform -> float32 cosines of altered copies, and of random pairs; None if
            they were not measured with these weights.
        why_no_calibration: in words; None if there is one.
        recall: of the search whose pairs are in force; None if it was not measured.
        made_at: when the report is made, in UTC.
        not_taken: path below the source -> why it is not curated, and since when.
        left_out: why members of these shards' tars belong to no sample -> how many.
        n_unseen_images: images beside the one that decided for their sample.
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
    model: str
    calibration: Mapping[str, np.ndarray] | None
    why_no_calibration: str | None
    recall: RecallFound | None
    made_at: datetime
    not_taken: Mapping[str, NotTaken]
    left_out: Mapping[str, int]
    n_unseen_images: int
