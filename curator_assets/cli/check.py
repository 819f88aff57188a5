"""`curate check`: whether a refresh can be done, before anything is embedded."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from itertools import islice
from typing import NamedTuple

import psutil
from rich.filesize import decimal

from curator_assets.cli.console import named, say
from curator_assets.cli.errors import MEND, told
from curator_assets.defs.filter.filter_scores import load_heads
from curator_assets.defs.output.deduplicated_shards import DEDUPLICATED_SHARDS
from curator_assets.engine.encoder import Encoder
from curator_assets.models import offline_model
from curator_assets.questions.stored_work import stored_work
from curator_assets.settings import Settings, load_settings, settings_file
from curator_assets.storage.shards.source import Source, require_tars
from curator_assets.storage.shards.tars import TarContent
from curator_assets.storage.store import Store

N_READ = 100
"""Samples that are read, to tell how large one is."""

RESOLUTION_BYTES = 650
"""Of memory an image that the resolution takes, measured at 2 M images (docs/performance.md)."""

TABLE_BYTES = 1000
"""Of disk an image that the tables take without its embedding, about."""


class Finding(NamedTuple):
    """What a look found; `is_warning` if it may be a hindrance."""

    text: str
    is_warning: bool = False


@dataclass
class _Seen:
    """What the looks before have seen.

    Attributes:
        n_bytes: shard -> size of its tar.
        sample_bytes: of a tar, on average.
        embedding_dim: of the model.
    """

    settings: Settings
    n_bytes: dict[str, int] = field(default_factory=dict)
    sample_bytes: float = 0.0
    embedding_dim: int = 0

    @property
    def n_images(self) -> int:
        """How many the source holds, about."""
        return round(sum(self.n_bytes.values()) / self.sample_bytes) if self.sample_bytes else 0


def check() -> int:
    """Print what each look finds; the exit status."""
    seen, is_good = _Seen(load_settings()), True
    say(f"settings  ok    {settings_file()}")
    for name, look in (("source", _source), ("output", _output), ("model", _model)):
        is_good &= _look(name, look, seen)
    if seen.settings.heads and seen.embedding_dim:
        is_good &= _look("heads", _heads, seen)
    if is_good:
        is_good = _look("disk", _disk, seen) and _look("memory", _memory, seen)
    say("ready: `curate refresh`" if is_good else "not ready: mend what failed")
    return 0 if is_good else MEND


def _look(name: str, look: Callable[[_Seen], Iterator[Finding]], seen: _Seen) -> bool:
    """Print what one look finds; whether nothing is in the way."""
    try:
        for text, is_warning in look(seen):
            say(f"{name:<10}{'note' if is_warning else 'ok':<6}{text}", "yellow" * is_warning)
    except Exception as error:  # whatever is in the way of one, the others are looked at
        say(f"{name:<10}{'FAIL':<6}{told(error)[1]}", "red")
        return False
    return True


def _source(seen: _Seen) -> Iterator[Finding]:
    settings = seen.settings
    source = Source(settings.source)
    listed = source.list_shards()
    require_tars(settings.source, listed)
    seen.n_bytes = {shard: signature.size for shard, signature in listed.items()}
    yield Finding(f"{source.location}: {len(listed):,} tars, {decimal(sum(seen.n_bytes.values()))}")
    whole = [shard for block in source.whole(listed, settings.marker) for shard in block]
    if others := sorted(set(listed) - set(whole)):
        tars = [f"{shard}.tar" for shard in others]
        what = (
            f"has no {settings.marker} beside it" if settings.marker else "is cut, or not whole yet"
        )
        yield Finding(f"{len(tars):,} would not be taken up, each {what}: {named(tars)}", True)
    for shard in whole[:1]:
        yield from _first_samples(shard, source, seen)


def _first_samples(shard: str, source: Source, seen: _Seen) -> Iterator[Finding]:
    content = TarContent(shard)
    with source.open(shard) as file:
        samples = list(islice(content.samples(file, images_only=True), N_READ))
        if samples:
            seen.sample_bytes = file.tell() / len(samples)
    if not samples:
        yield Finding(f"{shard}.tar holds no sample", True)
        return
    members = ", ".join(member.name for member in samples[0].members)
    yield Finding(f"the first sample of {shard}.tar: {members}")
    if not any(sample.image for sample in samples):
        yield Finding(f"none of the first {len(samples)} samples of {shard}.tar is an image", True)


def _output(seen: _Seen) -> Iterator[Finding]:
    store = Store(seen.settings.output)
    store.require_writable()
    yield Finding(f"{store.location} can be written")


def _model(seen: _Seen) -> Iterator[Finding]:
    model = seen.settings.model
    _, loaded = Encoder.of(seen.settings).load("float32")
    seen.embedding_dim = loaded.embedding_dim
    yield Finding(
        f"{model.name} / {model.pretrained} on {loaded.device}: embeddings of width "
        f"{loaded.embedding_dim}"
    )
    if model.name == offline_model.NAME:
        yield Finding(offline_model.NOTE, True)


def _heads(seen: _Seen) -> Iterator[Finding]:
    for score, head in load_heads(seen.settings).items():
        head.require_fit(embedding_model=seen.settings.model.name, embedding_dim=seen.embedding_dim)
        yield Finding(f"{score}: fits the model")


def _disk(seen: _Seen) -> Iterator[Finding]:
    free = Store(seen.settings.output).free_bytes()
    if free is None:
        yield Finding("the output is no disk of this machine")
        return
    done = stored_work(seen.settings).made_shards(DEDUPLICATED_SHARDS)
    left = {shard: n for shard, n in seen.n_bytes.items() if shard not in done}
    share = sum(left.values()) / max(sum(seen.n_bytes.values()), 1)
    width = 2 if seen.settings.model.storage == "float16" else 4
    tables = share * seen.n_images * (TABLE_BYTES + width * seen.embedding_dim)
    need = sum(left.values()) + tables
    yield Finding(
        f"{decimal(free)} free; at most {decimal(round(need))} are needed, if all is kept",
        is_warning=need > free,
    )


def _memory(seen: _Seen) -> Iterator[Finding]:
    free = psutil.virtual_memory().available
    need = seen.n_images * RESOLUTION_BYTES
    yield Finding(
        f"{decimal(free)} free; about {seen.n_images:,} images need {decimal(need)} to be "
        "resolved, beside the model",
        is_warning=need > free,
    )
