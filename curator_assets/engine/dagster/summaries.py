"""What is told of a partition in the UI: first in words and where to look, then numbers."""

from collections.abc import Mapping
from typing import Any

from curator_assets.engine.stage import Stage
from curator_assets.engine.work import Work
from curator_assets.storage import layout


def told(stage: Stage, work: Work, reported: Mapping[str, Any]) -> dict[str, Any]:
    """What was reported of a partition or a group of them, with a summary and the report's place.

    Args:
        stage: that it is of.
        work: whose settings and store are meant.
        reported: in the ledger; no summary is made of it if it lacks what the stage counts.
    """
    first = {"report": work.store.url(layout.REPORT)}
    if stage.words and all(name in reported for name in stage.counts):
        first = {"summary": stage.words(reported, work.settings)} | first
    return first | dict(reported)
