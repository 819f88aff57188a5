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
from curator_assets.questions.forecast.expected_images import ExpectedImages
from curator_assets.questions.forecast.ranges import Range
from curator_assets.questions.forecast.stored_embeddings import StoredEmbeddings
from curator_assets.settings import Settings

EMBEDDINGS_READERS = (FILTER_SCORES, CENTROIDS, CLUSTER_ASSIGNMENTS, NEAR_DUPLICATE_PAIRS)
"""The stages that read embeddings, scores only where there are heads; of other tables, and by other
stages, little is read."""

SAMPLE_BYTES = Range(100, 1000)
"""Of the tables an image, without its embedding: names, statistics, scores, cells, verdicts."""

COMPRESSED = Range(0.8, 1.0)
"""The share of the bytes of embeddings that is left of them in a table."""

TABLES_VARY = 0.1
"""By what fraction tables and curated tars may be off those of other shards, though these agree."""


@dataclass(frozen=True)
class ExpectedBytes:
    """What is read and written.

    Attributes:
        tables_are_known: False if the number of images or the width of their embeddings is not, and
            tables of them are left out.
    """

    read: Range
    written: Range
    tables_are_known: bool


def expected_bytes(
    amounts: Mapping[Stage, Range],
    work: Work,
    stored: StoredEmbeddings,
    images: ExpectedImages | None,
    images_per_byte: Range | None,
) -> ExpectedBytes:
    """What is read and written.

    Args:
        amounts: what is made, in bytes of tars.
        work: whose output is looked at.
        stored: what is embedded.
        images: that are embedded; None if their number is not known.
        images_per_byte: of the tars; None if it is not known.
    """
    per_image, none = _table_bytes_per_image(stored, work.settings), Range.of(0)
    per_byte = images_per_byte * per_image if images_per_byte and per_image else none
    ratios = {stage: _written_per_byte(stage, work) for stage in amounts}
    ratios[IMAGE_EMBEDDINGS] = per_byte
    written = [amount * ratios[stage] for stage, amount in amounts.items()]
    readers = [s for s in EMBEDDINGS_READERS if s is not FILTER_SCORES or work.settings.heads]
    read = [amounts[stage] * per_byte for stage in readers if stage in amounts]
    read.append(amounts.get(IMAGE_EMBEDDINGS, none))
    if DEDUPLICATED_SHARDS in amounts:  # what is written is read back
        read.append(amounts[DEDUPLICATED_SHARDS] * (Range.of(1) + ratios[DEDUPLICATED_SHARDS]))
    if images and per_image:  # the tables that rows are copied from
        read.append(images.n_reused * per_image)
    are_known = per_image is not None and images is not None
    return ExpectedBytes(Range.sum(read), Range.sum(written), are_known)


def _table_bytes_per_image(stored: StoredEmbeddings, settings: Settings) -> Range | None:
    alike = [one for one in stored.there.values() if one.is_usable and one.n_images]
    if alike:
        return Range.spread([one.table_bytes / one.n_images for one in alike], TABLES_VARY)
    width = embedding_width(settings.model.name)
    if width is None:
        return None
    n_bytes = width * (2 if settings.model.storage == "float16" else 4)
    return Range.of(n_bytes) * COMPRESSED + SAMPLE_BYTES


def _written_per_byte(stage: Stage, work: Work) -> Range:
    """What a stage writes a byte of the tars that it is made of, by what it wrote before."""
    made = {p: entry for p in work.partitions(stage) if (entry := work.entry(stage, p))}
    # what is not made of one tar is made of all of them, in parts that are about alike
    share_of_all = sum(work.n_bytes.get(shard, 0) for shard in work.shards) / max(len(made), 1)
    is_of_tar = stage.by is Partitioning.SHARD
    sizes = {p: work.n_bytes.get(p, 0) if is_of_tar else share_of_all for p in made}
    found = [
        sum(file.n_bytes for file in entry.files.values()) / sizes[partition]
        for partition, entry in made.items()
        if sizes[partition]
    ]
    unknown = Range(0, 1) if stage is DEDUPLICATED_SHARDS else Range.of(0)
    return Range.spread(found, TABLES_VARY) if found else unknown
