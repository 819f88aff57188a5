"""What a person is told of an intake."""

from __future__ import annotations

from curator_assets.engine.intake import Intake
from curator_assets.engine.stage import Graph
from curator_assets.engine.work import Work
from curator_assets.errors import RemovalsHeldBackError, named
from curator_assets.masking import masked_location
from curator_assets.settings import Settings
from curator_assets.storage.shards.not_taken import briefly
from curator_assets.storage.shards.shard_names import printable
from curator_assets.storage.shards.source import MissingSourceError


def require_usable(intake: Intake, settings: Settings) -> None:
    """Refuse a source of which no shard can be taken, and to go on with another source's output.

    Raises:
        MissingSourceError: says what lies there instead.
        RemovalsHeldBackError: the source may not be the one that the output was made from, or
            nothing of it is to be seen.
    """
    if intake.held_back:
        raise RemovalsHeldBackError(intake.held_back)
    if intake.shards or intake.removed:
        return
    if text := why_removals_wait(intake, settings):
        raise RemovalsHeldBackError(text)
    source = masked_location(settings.source)
    if intake.not_taken:
        raise MissingSourceError(
            f"source {source} holds nothing that can be taken: "
            f"{briefly(intake.not_taken)}; expected webdataset shards, whole files that end in .tar"
        )
    raise MissingSourceError(
        f"source {source} holds no tar; expected webdataset shards, files that end in .tar, at any "
        "depth below it: set 'source' in the settings to where they lie, or make some of image "
        "files with `curate pack`"
    )


def why_removals_wait(intake: Intake, settings: Settings) -> str | None:
    """One paragraph on what can't be seen or is gone, and stays as it is; None if nothing does."""
    if not intake.absent and not intake.unseen:
        return None
    told = list[str]()
    if intake.unseen:
        folders = [f"{printable(path)} ({why})" for path, why in intake.unseen.items()]
        told.append(f"not all of it can be seen: {named(folders)}")
    hidden = [printable(shard) for shard in intake.absent if shard not in intake.gone]
    if hidden:
        told.append(f"{len(hidden):,} known shards are out of sight: {named(hidden)}")
    if intake.gone:
        names = [printable(shard) for shard in intake.gone]
        told.append(f"{len(names):,} known shards are gone: {named(names)}")
    how = "; `curate refresh --allow-removals` lets go of what is gone" if intake.gone else ""
    return (
        f"removals are held back in source {masked_location(settings.source)}: {'; '.join(told)}. "
        f"What was made of them stays; if the source is at fault, mend or mount it{how}"
    )


def unread_warning(intake: Intake, graph: Graph, work: Work) -> str | None:
    """One paragraph for a person whose output can't be read; None if all of it can."""
    held = intake.held - {*intake.removed}
    n_unread = len(held) - len(held & work.ledger.read_all(graph.by_shard()[0].name).keys())
    if not n_unread:
        return None
    return (
        f"{n_unread} shards of the output {work.store.location} are recorded in a format that "
        "this version does not read (an older one, or damaged): they are made again. Of an older "
        "version's output nothing is carried over; to start clean, name another output or delete "
        "this one"
    )
