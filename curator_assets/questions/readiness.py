"""Whether a refresh can be done: each look says what it found, or raises what is in the way."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import islice
from typing import NamedTuple

import psutil
from rich.filesize import decimal

from curator_assets.defs.filter.filter_scores import head_files, load_heads
from curator_assets.defs.output.deduplicated_shards import DEDUPLICATED_SHARDS
from curator_assets.defs.stages import GRAPH
from curator_assets.engine.cluster.ray_cluster import opened_cluster
from curator_assets.engine.encoder import Encoder
from curator_assets.engine.progress import duration
from curator_assets.extras import require_installed
from curator_assets.models import offline_model
from curator_assets.number_words import counted
from curator_assets.questions.store_cost import store_cost
from curator_assets.questions.stored_work import stored_work
from curator_assets.settings import Settings
from curator_assets.storage.bucket.bucket import Bucket
from curator_assets.storage.bucket.pace import Pace, ReadPace, pace, read_pace
from curator_assets.storage.one_host import lets_two_create
from curator_assets.storage.room import free_bytes, new_probe, require_writable
from curator_assets.storage.shards.not_taken import (
    briefly,
    not_taken_lines,
    read_not_taken,
    since,
    still_noted,
)
from curator_assets.storage.shards.source import MissingSourceError, Source
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
class Seen:
    """What the looks before have seen.

    Attributes:
        n_bytes: shard -> size of its tar.
        sample_bytes: of a tar, on average; 0 if none was read.
        embedding_dim: of the model; 0 if it was not loaded.
        source_pace: of a bucket; None of a folder.
        output_pace: likewise.
    """

    settings: Settings
    n_bytes: Mapping[str, int] = field(default_factory=dict)
    sample_bytes: float = 0.0
    embedding_dim: int = 0
    source_pace: ReadPace | None = None
    output_pace: Pace | None = None

    @property
    def n_images(self) -> int:
        """How many the source holds, about."""
        return round(sum(self.n_bytes.values()) / self.sample_bytes) if self.sample_bytes else 0


def look_at_source(seen: Seen) -> Iterator[Finding]:
    """The tars, and the first samples of one.

    Raises:
        MissingSourceError: there is no folder, or no whole tar in it.
        BrokenTarError: the first tar can't be read.
    """
    settings = seen.settings
    source = Source(settings.source)
    looked = source.look(settings.output)
    listed = looked.shards
    found, reasons = source.not_taken(looked, listed, settings.marker)
    noted = read_not_taken(Store(settings.output))
    not_taken = since(still_noted(noted, looked.shards.keys()) | reasons, noted)
    whole = sorted(found)
    if not whole:
        lies_there = f": {briefly(not_taken)}" if not_taken else ""
        raise MissingSourceError(
            f"source {source.location} holds no tar that can be taken{lies_there}; expected "
            "webdataset shards, whole files that end in .tar, at any depth below it: set 'source' "
            "in the settings to where they lie, or make some of image files with `curate pack`"
        )
    seen.n_bytes = {shard: signature.size for shard, signature in listed.items()}
    n_bytes = sum(seen.n_bytes.values())
    yield Finding(f"{source.location}: {len(listed):,} tars, {decimal(n_bytes)}")
    for line in not_taken_lines(not_taken):
        yield Finding(line, True)
    if "://" in settings.source:
        large = max(whole, key=seen.n_bytes.__getitem__)
        seen.source_pace = read_pace(lambda n: source.read_ranges(large, [(0, n)])[0])
        yield Finding(_read_words(seen.source_pace))
    for shard in whole[:1]:
        yield from _first_samples(shard, source, seen)


def _first_samples(shard: str, source: Source, seen: Seen) -> Iterator[Finding]:
    content = TarContent(shard)
    with source.open(shard) as file:
        samples = list(islice(content.samples(file), N_READ))
        if samples:
            seen.sample_bytes = file.tell() / len(samples)
    if not samples:
        yield Finding(f"{shard}.tar holds no sample", True)
        return
    members = ", ".join(member.name for member in samples[0].members)
    yield Finding(f"the first sample of {shard}.tar: {members}")
    if not any(sample.image for sample in samples):
        yield Finding(f"none of the first {len(samples)} samples of {shard}.tar is an image", True)


def look_at_output(seen: Seen) -> Iterator[Finding]:
    """Whether it can be written; and a bucket, how fast, and by how many hosts.

    Raises:
        OutputError: it can't.
        StoreRefusedError: a bucket answers nobody who asks like this.
    """
    store = Store(seen.settings.output)
    require_writable(store)
    yield Finding(f"{store.location} can be written")
    if store.is_local:
        return
    seen.output_pace = found = pace(Bucket(store.fs, store.root), new_probe)
    yield Finding(
        f"{_read_words(found)}; a small put {_milliseconds(found.put_seconds)}, a delete "
        f"{_milliseconds(found.delete_seconds)}, {decimal(round(found.up_bytes_per_second))}/s up"
    )
    if lets_two_create(store):
        yield Finding("conditional put: no, so one host alone may refresh it", True)
    else:
        yield Finding("conditional put: yes, so several hosts may share it, one at a time")


def _read_words(found: ReadPace) -> str:
    down = decimal(round(found.down_bytes_per_second))
    return f"a small get takes {_milliseconds(found.get_seconds)}, {down}/s come down"


def _milliseconds(seconds: float) -> str:
    return f"{1000 * seconds:.3g} ms"


def look_at_model(seen: Seen) -> Iterator[Finding]:
    """The embedding model, fetched if it is to be, and the package that searches pairs.

    Raises:
        ModelUnavailableError: it can't be had.
        NotInstalledError: the package is missing.
    """
    require_installed("faiss", "faiss-gpu")
    model = seen.settings.model
    encoder = replace(Encoder.of(seen.settings), device=seen.settings.device_here)
    _, loaded = encoder.load("float32", "plain")
    seen.embedding_dim = loaded.embedding_dim
    yield Finding(
        f"{model.name} / {model.pretrained} on {loaded.device}: embeddings of width "
        f"{loaded.embedding_dim}"
    )
    if model.name == offline_model.NAME:
        yield Finding(offline_model.NOTE, True)


def look_at_heads(seen: Seen) -> Iterator[Finding]:
    """Each head, fetched if it is to be.

    Raises:
        HeadUnavailableError: one can't be had or read.
        HeadMismatchError: one is of another width than the embeddings.
    """
    for score, head in load_heads(head_files(seen.settings), seen.settings).items():
        head.require_fit(embedding_model=seen.settings.model.name, embedding_dim=seen.embedding_dim)
        yield Finding(f"{score}: fits the model")


def look_at_disk(seen: Seen) -> Iterator[Finding]:
    """The room for what is not curated yet, if all of it were kept; of a bucket, what it costs."""
    free = free_bytes(Store(seen.settings.output))
    done = stored_work(seen.settings).made_shards(DEDUPLICATED_SHARDS)
    left_shards = [shard for shard in seen.n_bytes if shard not in done]
    left = sum(seen.n_bytes[shard] for shard in left_shards)
    share = left / max(sum(seen.n_bytes.values()), 1)
    width = 2 if seen.settings.model.storage == "float16" else 4
    need = left + share * seen.n_images * (TABLE_BYTES + width * seen.embedding_dim)
    if seen.output_pace:
        yield _store_cost(seen, seen.output_pace, left_shards, round(need))
    if free is None:
        return
    yield Finding(
        f"{decimal(free)} free; at most {decimal(round(need))} are needed, if all is kept",
        is_warning=need > free,
    )


def _store_cost(seen: Seen, output: Pace, left: Sequence[str], up_bytes: int) -> Finding:
    left_bytes = sum(seen.n_bytes[shard] for shard in left)
    cost = store_cost(len(seen.n_bytes), len(left), left_bytes, up_bytes, output, seen.source_pace)
    return Finding(
        f"to curate {counted(len(left), 'shard')} takes about {cost.n_requests:,} requests and at "
        f"most {decimal(cost.up_bytes)} up and {decimal(cost.down_bytes)} down: "
        f"{duration(cost.seconds)} if all came one after another; a refresh with nothing to do "
        f"takes about {cost.n_idle_requests:,} requests"
    )


def look_at_memory(seen: Seen) -> Iterator[Finding]:
    """The memory for the resolution of all images."""
    free = psutil.virtual_memory().available
    need = seen.n_images * RESOLUTION_BYTES
    yield Finding(
        f"{decimal(free)} free; about {seen.n_images:,} images need {decimal(need)} to be "
        "resolved, beside the model",
        is_warning=need > free,
    )


def look_at_cluster(seen: Seen) -> Iterator[Finding]:
    """The machines of the Ray cluster, where the settings name one.

    Raises:
        ClusterError: it can't be reached.
        NoPlaceError: it holds no worker.
    """
    with opened_cluster(GRAPH, seen.settings, logging.getLogger(__name__)) as cluster:
        if cluster:
            yield Finding(f"Ray, {seen.settings.cluster.ray}: {cluster.machines()}")


LOOKS: dict[str, Callable[[Seen], Iterator[Finding]]] = {
    "source": look_at_source,
    "output": look_at_output,
    "model": look_at_model,
    "heads": look_at_heads,
    "disk": look_at_disk,
    "memory": look_at_memory,
    "cluster": look_at_cluster,
}
"""In order; a look may need what those before it have seen."""

NEEDS = {"heads": {"model"}, "disk": {"source", "output", "model"}, "memory": {"source"}}
"""What must have gone well before a look."""
