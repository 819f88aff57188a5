"""`cluster_assignments`: the cell each image lives in, and the cells it must also visit."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa

from curator_assets.defs.deduplicate.centroids import CENTROIDS
from curator_assets.defs.deduplicate.codebook_fit import ASSIGNED, MAX_DRIFT, training_distance
from curator_assets.defs.embed.image_embeddings import IMAGE_EMBEDDINGS
from curator_assets.engine.partitioning import ALL, Partitioning
from curator_assets.engine.stage import Check, Dep, Inputs, Made, Make, OneByOne, Stage
from curator_assets.engine.work import Work
from curator_assets.number_words import counted_or_no
from curator_assets.settings import Settings
from curator_assets.storage import layout
from curator_assets.storage.ledger import Entry
from curator_assets.storage.tables import schemas
from curator_assets.storage.tables.assignments import (
    assignment_table,
    group_digest,
    read_centroids,
    read_prefix_directions,
)
from curator_assets.storage.tables.cell_rows import CellFilesWriter
from curator_assets.storage.tables.parquet import (
    read_row_groups,
    stored_embeddings,
    unit_rows,
    write_table,
)

if TYPE_CHECKING:
    from curator_assets.kernels.prefix import PrefixBasis

# Of the cells within the exact bound, the fast search visits those well inside it, the nearest
# first; docs/log.md has the recall of both constants.
FAST_MAX_VISITS = 16
FAST_BOUND_FRACTION = 0.6

_CODEBOOK_FITS = "codebook_fits"


def _inputs(work: Work, shard: str) -> Inputs:
    return work.versions(shard, IMAGE_EMBEDDINGS) | work.versions(ALL, CENTROIDS)


@contextmanager
def _open(work: Work) -> Iterator[Make]:
    from curator_assets.kernels.prefix import PrefixBasis

    codebook, centroids = work.require_as_recorded(CENTROIDS), read_centroids(work.store)
    directions = read_prefix_directions(work.store)
    basis = None if directions is None else PrefixBasis(directions)

    def make(shard: str) -> Made:
        return _assign_shard(shard, centroids, basis, codebook, work)

    yield make


def _words(n: Mapping[str, int], _: Settings) -> str:
    images = counted_or_no(n["dagster/row_count"], "image in its cell", "images in their cells")
    visits = counted_or_no(n["n_visits"], "visit to another cell", "visits to other cells")
    return f"{images}; {visits} near enough"


CLUSTER_ASSIGNMENTS = Stage(
    name=ASSIGNED,
    by=Partitioning.SHARD,
    deps=(Dep(IMAGE_EMBEDDINGS), Dep(CENTROIDS)),
    group="4_deduplicate",
    kinds=frozenset({"torch", "parquet"}),
    description="The cell that each image lives in, and the other cells that could hold a near-"
    "duplicate of it.\n\n"
    "A partition is a shard, with one row an image; it costs a pass over the shard's embeddings. "
    "Other embeddings, another codebook, and another `max_eps`, `search` or number of cell groups"
    " make it stale.",
    version="2",
    covers=lambda settings: [
        settings.duplicates.model_dump(include={"max_eps", "search"}),
        settings.clusters.n_cell_groups,
    ],
    files=lambda shard: (
        layout.assignments(shard),
        layout.cell_rows(shard),
        layout.cell_vectors(shard),
    ),
    inputs=_inputs,
    making=OneByOne(_open),
    checks=(
        Check(
            _CODEBOOK_FITS,
            "The shard's images lie about as near to their centroids as the training sample did; "
            "if not, retraining would make the search cheaper.",
            blocking=False,
        ),
    ),
    columns=lambda _: schemas.ASSIGNMENTS,
    unit="images",
    counts=("dagster/row_count", "n_visits"),
    words=_words,
    is_spread=True,
)


def _assign_shard(
    shard: str, centroids: np.ndarray, basis: "PrefixBasis | None", codebook: Entry, work: Work
) -> Made:
    from curator_assets.kernels.cell_group import search_keys
    from curator_assets.kernels.cells import visit_cells
    from curator_assets.kernels.device import resolve_device

    settings, store = work.settings, work.store
    device = resolve_device(settings.device_here)
    columns = ["image_id", "shard", "position", "embedding"]
    fast = settings.duplicates.search == "fast"
    group_of = cell_group_of(len(centroids), settings.clusters.n_cell_groups)
    tables, n_samples, n_visits = list[pa.Table](), 0, 0
    vectors_name, rows_name = layout.cell_vectors(shard), layout.cell_rows(shard)
    with store.write(vectors_name) as vectors, store.write(rows_name) as rows_file:
        writer = CellFilesWriter(vectors, group_of)
        for samples in read_row_groups(store, layout.embeddings(shard), columns):
            stored, rows = stored_embeddings(samples)
            embeddings = unit_rows(stored)
            assignment = visit_cells(
                embeddings,
                centroids,
                min_cosine=1 - settings.duplicates.max_eps,
                max_visits=FAST_MAX_VISITS if fast else None,
                bound_fraction=FAST_BOUND_FRACTION if fast else 1.0,
                device=device,
            )
            tables.append(assignment_table(samples, rows, assignment))
            writer.append(
                stored,
                position=samples["position"].to_numpy()[rows],
                key=search_keys(embeddings, assignment),
                home=assignment.home,
                n_visits=np.diff(assignment.visit_offsets),
                visits=assignment.visits,
                prefix=_prefixes(embeddings, basis),
            )
            n_samples, n_visits = n_samples + len(samples), n_visits + len(assignment.visits)
        by_group = writer.finish(rows_file)
    table, name = pa.concat_tables(tables), layout.assignments(shard)
    write_table(store, name, table, schemas.ASSIGNMENTS)
    drift = _drift(table["centroid_cosine"].to_numpy(), codebook)
    fits = {_CODEBOOK_FITS: drift}
    return Made(
        shard,
        metadata={
            "dagster/row_count": len(table),
            **drift,
            "n_visits": n_visits,
            "visits_per_image": n_visits / max(len(table), 1),
            "n_clusters": len(centroids),
            "search": settings.duplicates.search,
            "max_eps": settings.duplicates.max_eps,
            "file": store.url(name),
        },
        checks=fits if drift["drift"] <= MAX_DRIFT else {},
        warnings=fits if drift["drift"] > MAX_DRIFT else {},
        state={
            "groups": {str(group): group_digest(rows) for group, rows in by_group.items()},
            "n_members": {str(group): len(rows.home) for group, rows in by_group.items()},
            "n_samples": n_samples,
            "n_images": len(table),
            "n_visits": n_visits,
            "mean_distance_to_centroid": drift["mean_distance_to_centroid"],
            "n_clusters": len(centroids),
            "n_cell_groups": settings.clusters.n_cell_groups,
        },
    )


def _prefixes(embeddings: np.ndarray, basis: "PrefixBasis | None") -> np.ndarray:
    return (
        np.zeros((len(embeddings), 0), np.float32) if basis is None else basis.prefixes(embeddings)
    )


def _drift(cosine: np.ndarray, codebook: Entry) -> dict[str, float]:
    """How much farther from their centroids a shard's images lie than the training sample."""
    distance = float(1 - cosine.mean()) if len(cosine) else 0.0
    trained = training_distance(codebook)
    return {
        "mean_distance_to_centroid": distance,
        "training_distance_to_centroid": trained,
        "drift": distance / trained,
    }


def cell_group_of(n_clusters: int, n_cell_groups: int) -> np.ndarray:
    """int64 [K]: the cell group of each cell."""
    return np.arange(n_clusters) * n_cell_groups // n_clusters
