"""What a stage did about groups of shards as Dagster events: one an asset and group.

The ledger goes by shard, and so does all that is decided. A group is reported as made once every
one of its shards is, with a version of all of them; until then it is only told what it lacks.
"""

from collections.abc import Container, Iterator, Mapping, Sequence
from typing import Any

import dagster as dg

from curator_assets.engine.dagster.check_results import CheckResults
from curator_assets.engine.dagster.events import Context, EventReporter
from curator_assets.engine.dagster.metadata_values import metadata_values
from curator_assets.engine.dagster.shard_groups import ShardGroups
from curator_assets.engine.dagster.summaries import told
from curator_assets.engine.dagster.version_tags import Provenance, last_versions, version_tags
from curator_assets.engine.making import Recorded
from curator_assets.engine.partitioning import Partition
from curator_assets.engine.stage import External, Failed, Observed, Stage, is_by_shard
from curator_assets.engine.work import Work
from curator_assets.errors import named
from curator_assets.storage import layout
from curator_assets.storage.entries import decoded_metadata
from curator_assets.storage.ledger import Entry
from curator_assets.storage.versions import file_of, hash_of

_SHOWN = 20
"""Shards of a group that are named."""


def reporter_of(
    context: Context, stage: Stage, work: Work, groups: ShardGroups | None, *, anew: bool = False
) -> "EventReporter | GroupReporter":
    """What reports a stage: group by group if its shards are grouped.

    Args:
        context: of the op that does the work.
        stage: whose work it is.
        work: whose ledger has the metadata.
        groups: of the shards; None if each is a partition by itself.
        anew: what was reported before is reported again.
    """
    if groups is None or not is_by_shard(stage):
        return EventReporter(context, stage, work, anew=anew)
    return GroupReporter(context, stage, work, groups, anew=anew)


class GroupReporter:
    """Turns what was done about the shards of a stage into events of their groups.

    A group is reported if a shard of it was made, or if what Dagster knows of it is another
    version: a shard is gone, or a kill came between work and event.

    Args:
        context: of the op that does the work.
        stage: by shard, whose work it is.
        work: whose ledger has entries and metadata.
        groups: of its shards.
        anew: what was reported before is reported again.
    """

    def __init__(
        self,
        context: Context,
        stage: Stage,
        work: Work,
        groups: ShardGroups,
        *,
        anew: bool = False,
    ) -> None:
        self._stage, self._work, self._groups = stage, work, groups
        self._log, self._key = context.log, dg.AssetKey(stage.name)
        self._provenance = Provenance(context.instance, stage, work.settings, context.run.tags)
        self._checks = CheckResults(self._key)
        event, observation = (
            dg.DagsterEventType.ASSET_MATERIALIZATION,
            dg.DagsterEventType.ASSET_OBSERVATION,
        )
        instance = context.instance
        self._reported = {} if anew else last_versions(instance, stage.name, event)
        self._observed = {
            external: last_versions(instance, external.name, observation)
            for external in stage.externals()
        }
        self._whole = set[Partition]()  # shards that are made, as they have to be
        self._made_now = set[Partition]()
        self._failed = dict[Partition, str]()
        self._due = dict[str, None]()
        self.changed = set[Partition]()
        """Shards of groups of which another version was reported."""

    def fresh(self, fresh: Mapping[Partition, Entry], due: Container[Partition]) -> Iterator[Any]:
        """The events of groups of which nothing has to be made.

        Args:
            fresh: the shards that were found so.
            due: shards whose groups are reported in any case; others only if Dagster knows another
                version of them, or none.
        """
        self._whole.update(fresh)
        for key, shards in self._groups.members.items():
            is_whole = self._whole.issuperset(shards)
            is_due = any(shard in due and shard in fresh for shard in shards)
            if is_due or (is_whole and self._reported.get(key) != self._version(shards)):
                self._due[key] = None
                if is_whole:
                    yield from self._report(key)

    def outcome(self, outcome: Recorded | Failed | Observed) -> Iterator[Any]:
        """The events of one outcome: of its group, if that is whole by it."""
        match outcome:
            case Failed(partition, error):
                self._checks.failed(outcome)
                self._failed[partition] = error
                self._due[self._groups.key_of[partition]] = None
            case Observed():
                self._checks.observed(outcome)
            case Recorded(partition):
                key = self._groups.key_of[partition]
                self._due[key] = None
                self._whole.add(partition)
                self._made_now.add(partition)
                if self._whole.issuperset(self._groups.members[key]):
                    yield from self._report(key)

    def close(self) -> Iterator[Any]:
        """What groups lack that could not be reported, and what the checks found in this run."""
        for key in self._due:
            yield self._lacking(key)
        yield from self._checks.evaluations()

    def _report(self, key: str) -> Iterator[Any]:
        """The materialisation of a group, each of whose shards is made."""
        del self._due[key]
        shards = self._groups.members[key]
        tars = self._stage.externals()
        observed = [event for tar in tars for event in self._told_anew(tar, key, shards)]
        if observed:
            yield from observed
            self._provenance.read()
        for shard in shards:
            self._checks.recorded(shard, self._work.require(self._stage, shard))
        version = self._version(shards)
        if self._reported.get(key) != version:
            self.changed.update(shards)
        n_made_now = len(self._made_now.intersection(shards))
        metadata = told(self._stage, self._work, self._counts(shards)) | {
            "n_shards": len(shards),
            "n_made_now": n_made_now,
            "shards": named(shards, _SHOWN),
            **self._folders(),
            "work_done": n_made_now > 0,
        }
        yield dg.AssetMaterialization(
            self._key,
            partition=key,
            metadata=metadata_values(metadata),
            tags=self._provenance.tags(version),
        )

    def _folders(self) -> dict[str, str]:
        """Where the files of all shards lie, and the pictures of them where there are any."""
        url, folders = self._work.store.url, dict[str, str]()
        for file in self._stage.files("any"):
            folder = file.rpartition("/")[0]
            name = "sheets" if folder.startswith(layout.SHEETS) else "folder"
            folders.setdefault(name, url(folder))
        return folders

    def _lacking(self, key: str) -> dg.AssetObservation:
        """What is told of a group that is not whole; what was reported before stands."""
        shards = self._groups.members[key]
        made = self._whole.intersection(shards)
        for shard in made & self._made_now:
            self._checks.recorded(shard, self._work.require(self._stage, shard))
        lacking = [shard for shard in shards if shard not in made]
        why = [
            {"shard": s, "why": self._failed.get(s) or self._unmade(s)} for s in lacking[:_SHOWN]
        ]
        summary = (
            f"{len(made)} of {len(shards)} shards are made. The partition is reported as made once "
            "all are; until then it stands as it was reported last."
        )
        metadata = {
            "incomplete": summary,
            "n_shards": len(shards),
            "n_made": len(made),
            "lacking": why,
            "n_lacking": len(lacking),
        }
        where = f"{self._stage.name}, partition {key}"
        self._log.warning("%s: %s Lacking: %s", where, summary, named(lacking))
        return dg.AssetObservation(
            self._key,
            partition=key,
            metadata=metadata_values(metadata),
        )

    def _unmade(self, shard: str) -> str:
        stands = self._work.entry(self._stage, shard)
        return "not made anew: it stands as it was made" if stands else "not made"

    def _told_anew(
        self, external: External, key: str, shards: Sequence[str]
    ) -> Iterator[dg.AssetObservation]:
        """The version of a group's tars, if Dagster knows another one."""
        entries = ((s, self._work.ledger.read(external.name, s)) for s in shards)
        version = hash_of([(shard, entry and entry.data_version) for shard, entry in entries])
        if self._observed[external].get(key) != version:
            metadata = metadata_values({"n_shards": len(shards), "shards": named(shards, _SHOWN)})
            yield dg.AssetObservation(
                external.name, partition=key, metadata=metadata, tags=version_tags(version)
            )

    def _version(self, shards: Sequence[str]) -> str:
        """Of a group whose shards are all made."""
        entries = ((s, self._work.require(self._stage, s)) for s in shards)
        return hash_of([(shard, entry.data_version) for shard, entry in entries])

    def _counts(self, shards: Sequence[str]) -> dict[str, Any]:
        """The sums of what is counted of each shard."""
        shard_of = {layout.metadata(self._stage.name, shard): shard for shard in shards}
        sums, n_found = dict[str, Any](), 0
        for name, data in self._work.store.read_each(list(shard_of)):
            entry = self._work.require(self._stage, shard_of[name])
            if entry.reported.get(name) != file_of(data):
                continue  # what was reported is no result: it holds nothing up
            values = decoded_metadata(data)
            n_found += 1
            for count in self._stage.counts:
                sums[count] = sums.get(count, 0) + values.get(count, 0)
        if n_found < len(shards):
            sums["counts_lack"] = (
                f"what was reported of {len(shards) - n_found} of the shards can't be read, and is "
                "left out of the sums"
            )
        return sums
