"""How many bytes a refresh reads and writes: tars, and tables by what those that lie there take."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from curator_assets.defs.deduplicate.centroids import CENTROIDS
from curator_assets.defs.deduplicate.cluster_assignments import CLUSTER_ASSIGNMENTS
from curator_assets.defs.deduplicate.near_duplicate_pairs import NEAR_DUPLICATE_PAIRS
from curator_assets.defs.embed.image_embeddings import IMAGE_EMBEDDINGS
from curator_assets.defs.filter.filter_scores import FILTER_SCORES
from curator_assets.defs.output.deduplicated_shards import DEDUPLICATED_SHARDS
from curator_assets.engine.partitioning import Partitioning
from curator_assets.engine.stage import Stage
from curator_assets.engine.work import Work
from curator_assets.models.embedding_width import embedding_width
from curator_assets.questions.forecast.ranges import Range
from curator_assets.questions.forecast.stored_embeddings import StoredEmbeddings
from curator_assets.settings import Settings

EMBEDDINGS_READERS = (FILTER_SCORES, CENTROIDS, CLUSTER_ASSIGNMENTS, NEAR_DUPLICATE_PAIRS)
"""The stages that read embeddings; of other tables, and by other stages, little is read."""

SAMPLE_BYTES = Range(100, 1000)
"""Of the tables an image, without its embedding: names, statistics, scores, cells, verdicts."""

COMPRESSED = Range(0.8, 1.0)
"""The share of the bytes of embeddings that is left of them in a table."""

SPREAD = 0.1
"""By what fraction tables and curated tars may be off those of other shards, though these agree."""


@dataclass(frozen=True)
class ExpectedBytes:
    """What is read and written.

    Attributes:
        tables_are_known: False if the width of the embeddings is not, and they are left out.
    """

    read: Range
    written: Range
    tables_are_known: bool


def expected_bytes(
    amounts: Mapping[Stage, Range],
    work: Work,
    stored: StoredEmbeddings,
    n_tar_bytes: int,
    images_per_byte: Range,
) -> ExpectedBytes:
    """What is read and written.

    Args:
        amounts: what is made, in bytes of tars.
        work: whose output is looked at.
        stored: what is embedded.
        n_tar_bytes: of the tars that are embedded.
        images_per_byte: of the tars.
    """
    per_image = _table_bytes_per_image(stored, work.settings)
    per_byte = images_per_byte * (per_image or Range.of(0))
    curated = amounts.get(DEDUPLICATED_SHARDS, Range.of(0))
    written = [amount * _written_per_byte(stage, work) for stage, amount in amounts.items()]
    written.append(Range.of(n_tar_bytes) * per_byte)
    read = [amounts.get(stage, Range.of(0)) * per_byte for stage in EMBEDDINGS_READERS]
    # curated tars are read back
    read += [Range.of(n_tar_bytes), curated, curated * _written_per_byte(DEDUPLICATED_SHARDS, work)]
    return ExpectedBytes(Range.sum(read), Range.sum(written), per_image is not None)


def _table_bytes_per_image(stored: StoredEmbeddings, settings: Settings) -> Range | None:
    alike = [one for one in stored.there.values() if one.is_alike and one.n_images]
    if alike:
        return Range.spread([one.table_bytes / one.n_images for one in alike], SPREAD)
    width = embedding_width(settings.model.name)
    if width is None:
        return None
    n_bytes = width * (2 if settings.model.storage == "float16" else 4)
    return Range.of(n_bytes) * COMPRESSED + SAMPLE_BYTES


def _written_per_byte(stage: Stage, work: Work) -> Range:
    """What a stage writes a byte of the tars that it is made of, by what it wrote before."""
    return work.once((_written_per_byte, stage), lambda: _find_written_per_byte(stage, work))


def _find_written_per_byte(stage: Stage, work: Work) -> Range:
    if stage is IMAGE_EMBEDDINGS:
        return Range.of(0)  # by the image
    entries = work.ledger.read_all(stage.name)
    if stage.by is Partitioning.SHARD:
        sizes = {shard: work.n_bytes.get(shard, 0) for shard in entries}
        found = [
            sum(file.n_bytes for file in entry.files.values()) / sizes[shard]
            for shard, entry in entries.items()
            if sizes[shard]
        ]
        unknown = Range(0, 1) if stage is DEDUPLICATED_SHARDS else Range.of(0)
        return Range.spread(found, SPREAD) if found else unknown
    whole = work.ledger.read(stage.name)
    n_bytes = sum(
        file.n_bytes
        for entry in [*entries.values(), *([whole] if whole else [])]
        for file in entry.files.values()
    )
    total = sum(work.n_bytes.get(shard, 0) for shard in work.shards)
    return Range.of(n_bytes / max(total, 1))
