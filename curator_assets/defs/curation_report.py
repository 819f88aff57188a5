"""`curation_report`: what was read, what was dropped and why, what is kept; to look at."""

import base64
from collections.abc import Iterator, Mapping
from typing import Any

import dagster as dg

from curator_assets.defs import duplicate_groups
from curator_assets.defs.ensure import EnsureConfig, ensure, work_of
from curator_assets.defs.resolution import Resolver, StoredPairs
from curator_assets.defs.stage import Failed, Inputs, Made, Outcome, Stage, Work
from curator_assets.report.build import Given, Report, make_report
from curator_assets.report.eps_curve import too_many
from curator_assets.report.funnel import label
from curator_assets.report.marking import VerdictError, verdict_files
from curator_assets.resources import Encoder, Storage
from curator_assets.settings import Settings
from curator_assets.storage import layout
from curator_assets.storage.ledger import Entry, hash_files, hash_of
from curator_assets.storage.store import Store
from curator_assets.storage.tables import count_rows

ASSET = "curation_report"
CODE_VERSION = "2"


def build_curation_report(settings: Settings) -> dg.AssetsDefinition:
    """The asset for these settings."""

    @dg.asset(
        name=ASSET,
        deps=[
            "deduplicated_shards",
            "duplicate_groups",
            "near_duplicate_pairs",
            "cluster_assignments",
            "centroids",
            "image_embeddings",
        ],
        group_name="output",
        backfill_policy=dg.BackfillPolicy.single_run(),
        code_version=code_version(settings),
        kinds={"html", "parquet"},
        description="What a person needs to trust what was removed: the funnel, the distribution "
        "of every score, what other thresholds and another eps would remove, pictures of what was "
        "removed beside what was kept, and the precision by people's verdicts.",
    )
    def curation_report(
        context: dg.AssetExecutionContext,
        config: EnsureConfig,
        storage: Storage,
        encoder: Encoder,
    ) -> Iterator[Any]:
        work = work_of(context, settings, storage, encoder)
        yield from ensure(context, stage(work), work, config)

    return curation_report


def code_version(settings: Settings) -> str:
    """What the report depends on beside what it counts: it shows the settings."""
    return f"{CODE_VERSION}-{hash_of(settings)}"


def stage(work: Work) -> Stage:
    """How the report is made."""
    groups_stage = duplicate_groups.stage(work)

    def inputs(_: str | None) -> Inputs:
        curated = _curated(work)
        embedded = {shard: work.require("image_embeddings", shard) for shard in curated}
        tars = {shard: (e.data_version, e.state.get("tar")) for shard, e in embedded.items()}
        assigned = work.made_shards("cluster_assignments")
        pairs = [work.require_version("near_duplicate_pairs", group) for group in work.cell_groups]
        return {
            "deduplicated_shards": _versions(curated),
            "image_embeddings": hash_of(list(tars.items())),
            "cluster_assignments": _versions(assigned),
            "centroids": work.require_version("centroids"),
            "near_duplicate_pairs": hash_of(pairs),
            "duplicate_groups": work.require_version("duplicate_groups"),
            "verdicts": hash_files(work.store, verdict_files(work.store))[0],
        }

    def make(_: list[str | None]) -> Iterator[Outcome]:
        if why := groups_stage.why_stale(None, work.ledger):
            yield Failed(
                None,
                f"duplicate_groups is not up to date ({why}); materialise duplicate_groups, "
                "duplicate_ids and deduplicated_shards first",
            )
            return
        made_from = inputs(None)
        try:
            report = make_report(_given(work))
        except VerdictError as error:
            yield Failed(None, str(error))
            return
        metadata = _metadata(report, work.store)
        yield Made(None, files=report.files, metadata=metadata, inputs=made_from)

    return Stage(ASSET, code_version(work.settings), inputs, make)


def _curated(work: Work) -> dict[str, Entry]:
    """The shards whose verdicts are on their present embeddings."""
    return {
        shard: entry
        for shard, entry in work.made_shards("deduplicated_shards").items()
        if entry.inputs.get("image_embeddings")
        == work.ledger.data_version("image_embeddings", shard)
    }


def _given(work: Work) -> Given:
    """What the report is made from."""
    settings, store = work.settings, work.store
    curated, groups = _curated(work), work.cell_groups
    n_pairs = sum(count_rows(store, layout.pairs(group)) for group in groups)
    n_dense = sum(count_rows(store, layout.dense_members(group)) for group in groups)
    why_not = too_many(n_pairs, n_dense)
    resolver = None
    if not why_not:
        embedded = list(work.made_shards("image_embeddings"))
        resolver = Resolver(StoredPairs(store, embedded, groups, settings), settings)
    return Given(
        settings=settings,
        store=store,
        tars=work.storage.tars,
        shards=list(curated),
        behind=[s for s in work.made_shards("deduplicated_shards") if s not in curated],
        n_taking_part=work.require("duplicate_groups").metadata["n_taking_part"],
        resolver=resolver,
        why_not=why_not,
        verdict_files=verdict_files(store),
    )


def _versions(entries: Mapping[str, Entry]) -> str:
    return hash_of([(shard, entry.data_version) for shard, entry in entries.items()])


def _metadata(report: Report, store: Store) -> dict[str, Any]:
    """What Dagster shows of the report."""
    summary, recommended = report.summary, report.summary["recommended_eps"]
    counts = ("n_samples", "n_unreadable", "n_filtered", "n_duplicates", "n_kept")
    steps = report.funnel.to_dicts()
    shown = {
        name: report.charts[name].png for name in ("funnel", "eps_curve") if name in report.charts
    }
    return {
        **{name: summary[name] for name in counts},
        "funnel": [
            {"step": label(row), "images": row["n_images"], "bytes": row["n_bytes"]}
            for row in steps
        ],
        "dropped": [{"why": why, "samples": n} for why, n in summary["dropped"].items()],
        "kept_fraction": summary["n_kept"] / max(summary["n_samples"], 1),
        "n_images_absent": report.n_missing,
        "recommended_eps": "not enough marked pairs" if recommended is None else recommended,
        **{
            f"{name}_chart": "data:image/png;base64," + base64.b64encode(png).decode()
            for name, png in shown.items()
        },
        "report": store.url(layout.REPORT),
        "pairs_to_mark": store.url(layout.PAIRS_TO_MARK),
    }
