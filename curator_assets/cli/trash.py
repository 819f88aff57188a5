"""`curate trash`: what was let go of."""

from __future__ import annotations

import click
from rich.filesize import decimal

from curator_assets.cli.console import print_table, say
from curator_assets.defs.stages import GRAPH
from curator_assets.engine.trash import empty_trash, replaced_tables, trashed
from curator_assets.settings_file import load_settings
from curator_assets.storage.lease import hold_lease
from curator_assets.storage.shards.not_taken import when
from curator_assets.storage.shards.shard_names import printable
from curator_assets.storage.store import Store


def list_trash() -> int:
    """Print what lies in the trash; how much, 0 if nothing.

    Raises:
        SettingsError: the settings can't be read.
    """
    settings = load_settings()
    found, (n_tables, n_bytes) = list(trashed(GRAPH, settings)), replaced_tables(settings)
    if n_tables:
        say(f"{n_tables:,} tables of embeddings that were made again, {decimal(n_bytes)}")
    if not found:
        say("no shards lie in the trash" if n_tables else "the trash is empty")
        return n_tables
    rows = [
        (printable(t.shard), f"{t.n_files:,}", decimal(t.n_bytes), when(t.since)) for t in found
    ]
    total = (f"{len(found):,} shards", f"{sum(t.n_files for t in found):,}")
    rows.append((*total, decimal(sum(t.n_bytes for t in found)), ""))
    print_table(["shard", "files", "size", "since"], rows)
    return len(found)


def empty_asked(*, ask: bool) -> None:
    """Erase the trash, if a person who is asked says so.

    Raises:
        click.Abort: nobody answers.
        RefreshRunningError: a refresh may be taking something back.
    """
    settings = load_settings()
    if ask and not click.confirm("erase all of it? it can't be had back"):
        say("left as it is")
        return
    with hold_lease(Store(settings.output), "emptying of the trash"):
        empty_trash(settings)
    say("the trash is empty")
