"""The sensor that finds new, replaced and removed tars and requests a refresh."""

import time
from collections.abc import Mapping

import dagster as dg

from curator_assets.defs.source.tar_shards import TAR_SHARDS
from curator_assets.masking import masked, masked_errors
from curator_assets.number_words import counted_or_no
from curator_assets.settings import Settings
from curator_assets.storage.lease import POLL_SECONDS, LeaseWatch
from curator_assets.storage.ledger import Ledger
from curator_assets.storage.shards.listing import (
    Change,
    Listing,
    changes,
    read_listing,
    write_listing,
)
from curator_assets.storage.shards.not_taken import (
    N_NAMED,
    NotTaken,
    not_taken_lines,
    read_not_taken,
    since,
    still_noted,
)
from curator_assets.storage.shards.shard_names import SHARD_SUFFIX
from curator_assets.storage.shards.source import Looked, Signature, Source
from curator_assets.storage.store import Store

N_READ_ONE_BY_ONE = 100
STARTING_SECONDS = 20.0
"""A run may take so long from its start to the lease; longer without it, and it was killed."""

LOOKING_SECONDS = 20.0
"""A tick looks at the ends of tars for so long, a third of what Dagster gives it."""


def build_tar_sensor(settings: Settings, refresh: dg.JobDefinition) -> dg.SensorDefinition:
    """The sensor for these settings; on from the start."""
    watch = LeaseWatch()

    @dg.sensor(
        name="tar_drops",
        job=refresh,
        minimum_interval_seconds=settings.tick_seconds,
        default_status=dg.DefaultSensorStatus.RUNNING,
        description="Looks for new, replaced and removed tars and asks for one run "
        "of the job refresh for all of them. A tar is taken once it is whole: the same in two "
        "ticks, and ended as tars end. While a refresh runs nothing is asked for. A tick without a "
        "run says why in its result, and names what lies in the source and is not taken.",
    )
    @masked_errors()
    def tar_drops(context: dg.SensorEvaluationContext) -> dg.RunRequest | dg.SkipReason:
        store, tars = Store(settings.output), Source(settings.source)
        running = watch.look(store)
        if running.lives:
            return dg.SkipReason(f"A refresh is running ({running}). Tars are looked at after it.")
        before, looked = read_listing(store), tars.look(settings.output)
        unseen = {shard: it for shard, it in before.seen.items() if looked.why_hidden(shard)}
        now = unseen | dict(looked.shards)  # what is out of sight is not gone
        change = changes(before, now, tars, marker=settings.marker, max_seconds=LOOKING_SECONDS)
        requested = {shard: before.requested.get(shard) for shard in now}
        requested |= {shard: now[shard] for shard in change.ready}
        known = {shard: signature for shard, signature in requested.items() if signature}
        if before.seen != now or before.requested != known:
            write_listing(store, Listing(now, known))
        killed = _fail_killed_runs(context.instance, store, refresh.name, watch)
        if not change.ready and not change.removed and not killed:
            lines = [f"{counted_or_no(len(now), 'tar')} in the source"]
            lines[0] += ", none of them new and whole" if now else ""
            lines += not_taken_lines(_not_taken(looked, change, before, now, tars, settings))
            return dg.SkipReason(masked(" ".join(f"{line}." for line in lines)))
        n_requests = int(context.cursor or 0) + 1
        context.update_cursor(str(n_requests))
        tags = {
            "curator/killed_runs": str(killed),
            "curator/tars_ready": str(len(change.ready)),
            "curator/tars_removed": str(len(change.removed)),
        }
        return dg.RunRequest(run_key=f"drop-{n_requests}", tags=tags)

    return tar_drops


def _not_taken(
    looked: Looked,
    change: Change,
    before: Listing,
    now: Mapping[str, Signature],
    tars: Source,
    settings: Settings,
) -> dict[str, NotTaken]:
    """What lies in the source and is not taken; the first tars that changed are looked at."""
    store = Store(settings.output)
    noted = read_not_taken(store)
    reasons = still_noted(noted, looked.shards.keys())
    reasons |= dict(looked.passed_over) | dict(looked.broken) | dict(looked.unseen)
    shown = _unread(store, {s: now[s] for s in change.arriving if s in looked.shards})
    settled = [s for s in shown if before.seen.get(s) == now[s]]
    judged = {shard: now[shard] for shard in settled[:N_NAMED]}
    why = tars.why_not_whole(judged, settings.marker)
    for shard in shown:
        reasons[shard + SHARD_SUFFIX] = why.get(shard, "still arriving, or not looked at yet")
    return since(reasons, noted)


def _unread(store: Store, shards: Mapping[str, Signature]) -> list[str]:
    """The shards whose tars no refresh has read as they are now, whether or not a tick saw them."""
    ledger = Ledger(store)
    if len(shards) > N_READ_ONE_BY_ONE:
        ledger.read_ahead(TAR_SHARDS.name)
    entries = {shard: ledger.read(TAR_SHARDS.name, shard) for shard in shards}
    return [s for s, entry in entries.items() if not entry or entry.fingerprint != str(shards[s])]


def _fail_killed_runs(
    instance: dg.DagsterInstance, store: Store, job_name: str, watch: LeaseWatch
) -> int:
    """Mark refreshes as failed whose process is gone, so that they don't hold up the next one."""
    started = dg.RunsFilter(job_name=job_name, statuses=[dg.DagsterRunStatus.STARTED])
    killed = [
        record.dagster_run
        for record in instance.get_run_records(started)
        if record.start_time and time.time() - record.start_time > STARTING_SECONDS
    ]
    if killed:
        time.sleep(2 * POLL_SECONDS)  # one that waited takes the lease as soon as it is free
        if watch.look(store).lives:
            return 0
    for run in killed:
        instance.report_run_failed(run, "its process is gone; what it finished counts")
    return len(killed)
