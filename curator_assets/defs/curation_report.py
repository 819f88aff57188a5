"""`curation_report`: what was read, what was dropped and why, what is kept."""

import html
import json
from collections import Counter
from collections.abc import Iterator, Mapping
from typing import Any

import dagster as dg

from curator_assets.defs.ensure import EnsureConfig, ensure, work_of
from curator_assets.defs.stage import Inputs, Made, Outcome, Stage, Work
from curator_assets.resources import Encoder, Storage
from curator_assets.settings import Settings
from curator_assets.storage import layout
from curator_assets.storage.ledger import hash_of

ASSET = "curation_report"
CODE_VERSION = "1"

_COUNTS = ("n_samples", "n_unreadable", "n_filtered", "n_duplicates", "n_kept")


def build_curation_report(settings: Settings) -> dg.AssetsDefinition:
    """The asset for these settings."""

    @dg.asset(
        name=ASSET,
        deps=["deduplicated_shards", "duplicate_groups"],
        group_name="output",
        backfill_policy=dg.BackfillPolicy.single_run(),
        code_version=code_version(settings),
        kinds={"html"},
        description="The funnel from read to kept, in total and by shard, with every reason.",
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
    settings, store = work.settings, work.store

    def inputs(_: str | None) -> Inputs:
        curated = work.made_shards("deduplicated_shards")
        versions = [(shard, entry.data_version) for shard, entry in curated.items()]
        return {
            "deduplicated_shards": hash_of(versions),
            "duplicate_groups": work.require_version("duplicate_groups"),
        }

    def make(_: list[str | None]) -> Iterator[Outcome]:
        groups = work.require("duplicate_groups")
        curated = work.made_shards("deduplicated_shards")
        by_shard = {shard: entry.metadata for shard, entry in curated.items()}
        totals = {name: sum(m[name] for m in by_shard.values()) for name in _COUNTS}
        dropped = Counter({f"filtered: {rule.reason}": 0 for rule in settings.filters})
        for metadata in by_shard.values():
            dropped.update({row["why"]: row["samples"] for row in metadata["dropped"]})
        summary = totals | {
            "dropped": dict(dropped.most_common()),
            "n_shards": len(by_shard),
            "n_shards_without_tar": sum(m["n_kept"] == 0 for m in by_shard.values()),
            "n_groups": groups.metadata["n_groups"],
            "largest_group": groups.metadata["largest_group"],
            "settings": settings.model_dump(mode="json"),
        }
        with store.write(layout.REPORT_SUMMARY) as file:
            file.write(json.dumps(summary, indent=2).encode())
        with store.write(layout.REPORT) as file:
            file.write(_page(summary, by_shard).encode())
        metadata = totals | {
            "dropped": [{"why": w, "samples": n} for w, n in dropped.most_common()],
            "kept_fraction": totals["n_kept"] / max(totals["n_samples"], 1),
            "report": store.url(layout.REPORT),
        }
        yield Made(None, files=(layout.REPORT_SUMMARY, layout.REPORT), metadata=metadata)

    return Stage(ASSET, code_version(settings), inputs, make)


def _page(summary: Mapping[str, Any], by_shard: Mapping[str, Mapping[str, Any]]) -> str:
    head = ["", "read", "unreadable", "filtered", "duplicates", "kept"]
    rows = [["all shards", *(summary[name] for name in _COUNTS)]]
    rows += [[shard, *(metadata[name] for name in _COUNTS)] for shard, metadata in by_shard.items()]
    reasons = [[why, n] for why, n in summary["dropped"].items()]
    settings = html.escape(json.dumps(summary["settings"], indent=2))
    return f"""<!doctype html>
<html lang="en">
<meta charset="utf-8">
<meta name="viewport" content="width=device-width">
<title>Curation report</title>
<style>
  :root {{ color-scheme: light dark }}
  body {{ font: 15px/1.5 system-ui, sans-serif; max-width: 60rem; margin: 2rem auto;
         padding: 0 1rem }}
  table {{ border-collapse: collapse; margin: 1rem 0 }}
  th, td {{ padding: .25rem .75rem; text-align: right; border-bottom: 1px solid #8884 }}
  th:first-child, td:first-child {{ text-align: left; overflow-wrap: anywhere }}
  pre {{ overflow-x: auto; padding: 1rem; background: #8881 }}
</style>
<h1>Curation report</h1>
<p>{summary["n_kept"]} of {summary["n_samples"]} samples are kept. Duplicates form
{summary["n_groups"]} groups, the largest of {summary["largest_group"]} images.
{summary["n_shards_without_tar"]} shards keep nothing and have no tar.</p>
{_table(head, rows)}
<h2>Why samples were dropped</h2>
{_table(["reason", "samples"], reasons)}
<h2>Settings</h2>
<pre>{settings}</pre>
</html>
"""


def _table(head: list[str], rows: list[list[Any]]) -> str:
    def line(tag: str, cells: list[Any]) -> str:
        return "<tr>" + "".join(f"<{tag}>{html.escape(str(c))}</{tag}>" for c in cells) + "</tr>"

    return "\n".join(["<table>", line("th", head), *(line("td", row) for row in rows), "</table>"])
