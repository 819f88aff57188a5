"""A damaged file counts as missing: the partition that it is of is forgotten, and made again."""

from __future__ import annotations

from collections.abc import Iterator

from curator_assets.engine.partitioning import Partition
from curator_assets.engine.stage import External, Stage, ancestors
from curator_assets.engine.work import Work
from curator_assets.storage.ledger import Entry


def forget_maker(stage: Stage, work: Work, name: str) -> None:
    """Forget the partition that a damaged file is of; a later pass over the stages makes it.

    What could not be read, but holds the very bytes that were recorded, is not damaged: it stays.

    Args:
        stage: that met the file, its own or one that it is made from.
        work: whose ledger forgets.
        name: of the file.
    """
    for made, partition, entry in _entries(stage, work):
        if name not in entry.files or _is_as_recorded(work, name, entry):
            continue
        of = f" of {partition!r}" if partition else ""
        work.log.warning("%s is damaged: %s%s is made again", work.store.url(name), made.name, of)
        work.ledger.remove(made.name, partition or None)
        work.forget()
        work.forgotten.add((made.name, partition))
        return


def _is_as_recorded(work: Work, name: str, entry: Entry) -> bool:
    try:
        return work.store.hash(name) == entry.files[name]
    except OSError:
        return False


def _entries(stage: Stage, work: Work) -> Iterator[tuple[Stage | External, Partition, Entry]]:
    """Every entry of a stage and of all that it is made from."""
    stages = {stage} | ancestors(stage)
    externals = {external for one in stages for external in one.externals()}
    everything: list[Stage | External] = [*stages, *externals]
    for made in everything:
        if entry := work.ledger.read(made.name):
            yield made, "", entry
        for partition, entry in work.ledger.read_all(made.name).items():
            yield made, partition, entry
