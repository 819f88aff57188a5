"""`curation_report`: what was read, what was dropped and why, what is kept; to look at."""

from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import numpy as np

from curator_assets.defs.deduplicate.centroids import CENTROIDS
from curator_assets.defs.deduplicate.cluster_assignments import CLUSTER_ASSIGNMENTS
from curator_assets.defs.deduplicate.duplicate_groups import DUPLICATE_GROUPS
from curator_assets.defs.deduplicate.eps_calibration import EPS_CALIBRATION
from curator_assets.defs.deduplicate.near_duplicate_pairs import (
    NEAR_DUPLICATE_PAIRS,
    pairs_version,
    recall_in_force,
)
from curator_assets.defs.deduplicate.resolver import Resolver
from curator_assets.defs.deduplicate.stored_pairs import stored_pairs
from curator_assets.defs.embed.embedding_weights import WEIGHTS
from curator_assets.defs.embed.image_embeddings import IMAGE_EMBEDDINGS
from curator_assets.defs.embed.shared_ids import shards_of_one_id_each
from curator_assets.defs.output.deduplicated_shards import DEDUPLICATED_SHARDS
from curator_assets.defs.output.verdicts import words_of_verdicts
from curator_assets.engine.freshness import why_stale
from curator_assets.engine.partitioning import ALL, MissingInputError, PartitionError, Partitioning
from curator_assets.engine.stage import Dep, Inputs, Made, Make, OneByOne, Stage
from curator_assets.engine.work import Work
from curator_assets.errors import DamagedFileError
from curator_assets.report.numbers.eps_curve import too_many
from curator_assets.report.numbers.funnel import label
from curator_assets.report.numbers.given import Given, present_minute
from curator_assets.report.numbers.marked_pairs import VerdictError, verdict_files
from curator_assets.report.numbers.trust import RecallFound
from curator_assets.report.report import Report, make_report
from curator_assets.storage import calibration, layout
from curator_assets.storage.ledger import Entry, StoredFile
from curator_assets.storage.shards.not_taken import read_not_taken
from curator_assets.storage.store import Store
from curator_assets.storage.tables.parquet import count_rows, read_table
from curator_assets.storage.versions import hash_of, stored_files, version_of

_IDENTITY = len("sha256:") + 12  # of weights: a text, also for a spreadsheet


def _inputs(work: Work, _: str) -> Inputs:
    curated = _curated(work)
    embedded = {shard: work.require(IMAGE_EMBEDDINGS, shard) for shard in curated}
    tars = [
        [shard, e.data_version, e.state.get("tar"), e.state.get("left_out")]
        for shard, e in embedded.items()
    ]
    return {
        DEDUPLICATED_SHARDS.name: _versions(curated),
        IMAGE_EMBEDDINGS.name: hash_of(tars),
        CLUSTER_ASSIGNMENTS.name: _versions(work.made_shards(CLUSTER_ASSIGNMENTS)),
        CENTROIDS.name: work.version(CENTROIDS),
        NEAR_DUPLICATE_PAIRS.name: pairs_version(work),
        DUPLICATE_GROUPS.name: work.version(DUPLICATE_GROUPS),
        "verdicts": version_of(stored_files(work.store, verdict_files(work.store))),
        "recall": hash_of(recall_in_force(work)),
        EPS_CALIBRATION.name: _calibration_version(work),
        "not taken": hash_of([[p, one.reason] for p, one in read_not_taken(work.store).items()]),
    }


@contextmanager
def _open(work: Work) -> Iterator[Make]:
    def make(_: str) -> Made:
        if why := why_stale(DUPLICATE_GROUPS, work, ALL):
            raise MissingInputError(
                f"{DUPLICATE_GROUPS.name} is not up to date ({why}); materialise it and what is "
                "made from it first"
            )
        made_from = _inputs(work, ALL)
        before = work.entry(CURATION_REPORT)
        drop_damaged_summaries(work.store, before.files if before else {})
        try:
            report = make_report(given_of(work))
        except VerdictError as error:
            raise PartitionError(str(error)) from error
        return Made(ALL, _metadata(report, work.store), files=report.files, inputs=made_from)

    yield make


CURATION_REPORT = Stage(
    name="curation_report",
    by=Partitioning.WHOLE,
    deps=(
        Dep(DEDUPLICATED_SHARDS),
        Dep(DUPLICATE_GROUPS),
        Dep(NEAR_DUPLICATE_PAIRS),
        Dep(CLUSTER_ASSIGNMENTS),
        Dep(CENTROIDS),
        Dep(IMAGE_EMBEDDINGS),
    ),
    group="5_output",
    kinds=frozenset({"html", "parquet"}),
    description="The report: what was removed and why, with the pictures and measurements to trust "
    "it by.\n\n"
    "One page with its tables and charts, without partitions; it costs a pass over the stored "
    "tables and reading the pictures that it shows. All that it shows makes it stale: any shard, "
    "any setting, and people's verdicts on pairs.",
    version="3",
    covers=lambda settings: settings,  # it shows them
    files=lambda _: (layout.REPORT,),
    inputs=_inputs,
    making=OneByOne(_open),
    unit="reports",
    counts=("n_samples", "n_kept", "n_duplicates", "n_filtered", "n_unreadable"),
    words=words_of_verdicts,
)


def drop_damaged_summaries(store: Store, files: Mapping[str, StoredFile]) -> None:
    """Remove last summaries that are not as they were recorded: the report would tell of changes.

    Args:
        store: where they lie.
        files: of the last report, as they were recorded.
    """
    for name in (layout.REPORT_SUMMARY, layout.REPORT_LAST_SUMMARY):
        if name in files and store.size(name) is not None and store.hash(name) != files[name]:
            store.remove(name)


def _curated(work: Work) -> dict[str, Entry]:
    """The shards whose verdicts are on their present embeddings."""
    made = shards_of_one_id_each(work)
    embedded = {shard: entry.data_version for shard, entry in made.items()}
    return {
        shard: entry
        for shard, entry in work.made_shards(DEDUPLICATED_SHARDS).items()
        if entry.inputs.get(IMAGE_EMBEDDINGS.name) == embedded.get(shard)
    }


def given_of(work: Work) -> Given:
    """What the report is made from."""
    settings, store = work.settings, work.store
    curated, groups = _curated(work), work.cell_groups
    n_dense = sum(count_rows(store, layout.dense_members(group)) for group in groups)
    stored = stored_pairs(work)
    states = [work.require(IMAGE_EMBEDDINGS, shard).state for shard in curated]
    recall, weights = recall_in_force(work), _weights(work)
    copies, why_no_copies = _calibration(work, weights)
    left_out = Counter[str]()
    for state in states:
        left_out.update(state.get("left_out", {}))
    return Given(
        settings=settings,
        store=store,
        tars=work.tars,
        shards=list(curated),
        behind=[s for s in work.made_shards(DEDUPLICATED_SHARDS) if s not in curated],
        n_taking_part=work.require(DUPLICATE_GROUPS).state["n_taking_part"],
        row_numbers=stored.numbers,
        resolver=Resolver(stored, settings),
        why_not=too_many(n_dense),
        verdict_files=verdict_files(store),
        model=weights[:_IDENTITY],
        calibration=copies,
        why_no_calibration=why_no_copies,
        recall=None if recall is None else RecallFound(**recall),
        made_at=present_minute(),
        not_taken=read_not_taken(store),
        left_out=dict(left_out.most_common()),
        n_unseen_images=sum(state.get("n_unseen_images", 0) for state in states),
    )


def _weights(work: Work) -> str:
    """The identity of the weights that most shards are embedded with; all, once it is refreshed."""
    entries = work.made_shards(IMAGE_EMBEDDINGS).values()
    found = Counter(str(entry.inputs.get(WEIGHTS, "")) for entry in entries)
    return found.most_common(1)[0][0] if found else ""


def _calibration_version(work: Work) -> str:
    """Of the cosines of `eps_calibration` and the weights they are of, if it was made."""
    entry = work.entry(EPS_CALIBRATION)
    if entry is None:
        return "not made"
    return hash_of([entry.inputs.get(WEIGHTS), entry.files.get(layout.CALIBRATION_COSINES)])


def _calibration(work: Work, weights: str) -> tuple[Mapping[str, np.ndarray] | None, str | None]:
    """Transform -> float32 cosines of `eps_calibration`, or why there are none."""
    entry = work.entry(EPS_CALIBRATION)
    if entry is None:
        return None, "it was not run yet"
    if entry.inputs.get(WEIGHTS) != weights:
        return None, "it was run with another model"
    try:
        cosines = read_table(work.store, layout.CALIBRATION_COSINES)
    except (FileNotFoundError, DamagedFileError):
        return None, "its table is gone or damaged"
    return calibration.by_transform(cosines), None


def _versions(entries: Mapping[str, Entry]) -> str:
    return hash_of([(shard, entry.data_version) for shard, entry in entries.items()])


def _shown_eps(summary: Mapping[str, Any]) -> str:
    """The recommended eps, from which to which it is open, and by what, in words."""
    if summary["recommended_eps"] is None:
        return "not known; mark pairs, or run curate calibrate"
    low, high = summary["recommended_eps_low"], summary["recommended_eps_high"]
    return f"{summary['recommended_eps']:g} ({low:g} to {high:g}), by {summary['recommended_by']}"


def _metadata(report: Report, store: Store) -> dict[str, Any]:
    """What Dagster shows of the report."""
    summary = report.summary
    counts = ("n_samples", "n_unreadable", "n_filtered", "n_duplicates", "n_kept")
    steps = report.funnel.to_dicts()
    return {
        **{name: summary[name] for name in counts},
        "funnel": [
            {"step": label(row), "images": row["n_images"], "bytes": row["n_bytes"]}
            for row in steps
        ],
        "dropped": [{"why": why, "samples": n} for why, n in summary["dropped"].items()],
        "kept_fraction": summary["n_kept"] / max(summary["n_samples"], 1),
        "eps_curve": report.why_not or "every stored pair was resolved at each eps",
        "n_images_absent": report.n_missing,
        "recommended_eps": _shown_eps(summary),
        **(
            {"eps_curve_chart": store.url(layout.report_chart("eps_curve"))}
            if "eps_curve" in report.charts
            else {}
        ),
        "report": store.url(layout.REPORT),
        "pairs_to_mark": store.url(layout.PAIRS_TO_MARK),
    }
