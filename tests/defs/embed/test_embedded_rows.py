"""Batches are full, nobody waits for what is slow, and rows come out in their order."""

from collections.abc import Callable, Iterator
from concurrent.futures import Future
from threading import Event
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from curator_assets.defs.embed import image_steps as module
from curator_assets.defs.embed.embedded_rows import Rows, embedded_rows
from curator_assets.defs.embed.image_rows import ImageRow
from curator_assets.defs.embed.image_steps import Spent
from curator_assets.defs.embed.read_samples import Begun, Part
from curator_assets.engine.workers.task import Supervision
from curator_assets.kernels.ahead import Running
from curator_assets.kernels.image_format import DecodeError
from curator_assets.storage.shards.tars import Member, Sample

SLOW, BAD = b"slow", b"bad"


def decoded(images: list[bytes]) -> SimpleNamespace:
    """As `DecodedBatch`, an image being as many pixels as its first byte says."""
    n, ok = len(images), np.array([i for i, data in enumerate(images) if data[:3] != BAD], int)
    numbers = np.array([data[0] for data in images])
    return SimpleNamespace(
        pixels=torch.tensor(numbers[ok], dtype=torch.float32)[:, None, None, None],
        ok=ok,
        errors=[DecodeError.CORRUPT if data[:3] == BAD else None for data in images],
        width=numbers.astype(np.int32),
        height=np.ones(n, np.int32),
        format=["jpeg"] * n,
        mean_luminance=np.zeros(n, np.float32),
        sharpness=np.zeros(n, np.float32),
        constant_rows_fraction=np.zeros(n, np.float32),
        has_alpha=np.zeros(n, bool),
        again_on_cpu=np.zeros(n, bool),
    )


class Decoder:
    """Gives each call at once, but one with a slow image only once it is let."""

    def __init__(self, n_at_once: int, batch_size: int = 8) -> None:
        self.n_at_once, self.batch_size = n_at_once, batch_size
        self.n_bytes_at_a_time = list[int]()
        self.held = list[Future[None]]()

    def begin(self, images: list[bytes], watch: object) -> Running[SimpleNamespace]:
        assert len(images) <= self.n_at_once
        future = Future[None]()
        if any(data.startswith(SLOW) for data in images):
            self.held.append(future)
        else:
            future.set_result(None)
        futures = [] if all(data.startswith(BAD) for data in images) else [future]
        return Running(futures, lambda: decoded(images))

    def let_slow_ones_go(self) -> None:
        for future in self.held:
            future.set_result(None)


class Model:
    """Embeds an image as its first byte."""

    batch_size, n_threads, embedding_dim = 4, 1, 2
    device = torch.device("cpu")

    def __init__(self, after: Callable[[int], object] = lambda _: None) -> None:
        self.batches, self._after = list[int](), after

    def begin(self, pixels: torch.Tensor, watch: object) -> Callable[[], np.ndarray]:
        self.batches.append(len(pixels))
        self._after(sum(self.batches))
        numbers = pixels[:, 0, 0, 0].numpy()
        return lambda: np.stack([numbers, np.zeros_like(numbers)], axis=1)


def parts(images: list[bytes], n_a_part: int = 5) -> Iterator[Part]:
    """One shard with these images."""
    for start in range(0, len(images), n_a_part):
        some, part = images[start : start + n_a_part], Part([Begun("a")] if not start else [])
        for i, data in enumerate(some):
            key = f"{start + i:04d}"
            member = Member(f"{key}.jpg", key, "jpg", 0, len(data), None, sha256=key)
            part.items.append(Sample(key, start + i, [member], image=member, n_images=1))
            part.rows.append(ImageRow(key))
            part.firsts.add(i)
            part.to_decode.append((part.rows[-1], data))
        yield part


def rows_of(images: list[bytes], decoder: Decoder, model: Model) -> list[tuple]:
    found = embedded_rows(parts(images), decoder, model, "float32", Supervision(), Spent())
    tables = [rows.table for rows in found if isinstance(rows, Rows)]
    return [
        (row["key"], row["error"], row["embedding"] and row["embedding"][0])
        for table in tables
        for row in table.to_pylist()
    ]


def expected(images: list[bytes]) -> list[tuple]:
    return [
        (f"{i:04d}", "corrupt", None) if data[:3] == BAD else (f"{i:04d}", None, data[0])
        for i, data in enumerate(images)
    ]


@pytest.mark.parametrize("n_at_once", [1, 8])
@pytest.mark.parametrize("n_bytes", [1, 300, 2000])
def test_all_batches_are_full_but_the_last(n_at_once, n_bytes, monkeypatch):
    monkeypatch.setattr(module, "_MAX_BYTES", 1000)
    images = [bytes([i + 1]) for i in range(50)]
    images[10] = images[11] = BAD
    large = [data + bytes(n_bytes) if i < 9 else data for i, data in enumerate(images)]
    model = Model()
    assert rows_of(large, Decoder(n_at_once), model) == expected(large)
    assert model.batches == [4] * 12


def test_what_is_slow_is_overtaken():
    images = [bytes([i + 1]) for i in range(40)]
    images[3] = SLOW
    decoder, others_are_through = Decoder(1), Event()

    def after(n_encoded: int) -> None:
        if n_encoded == 36:  # 3 are left over for the last batch
            others_are_through.set()
            decoder.let_slow_ones_go()

    model = Model(after)
    assert rows_of(images, decoder, model) == expected(images)
    assert others_are_through.is_set()
    assert model.batches == [4] * 10


def test_no_more_are_overtaking_than_are_held_in_memory(monkeypatch):
    """The slow one is waited for, and goes once nothing else can."""
    monkeypatch.setattr(module, "_MAX_OVERTAKING", 10)
    images = [bytes([i % 200 + 1]) for i in range(60)]
    images[3] = SLOW
    decoder, n_before = Decoder(1), list[int]()
    get = module.SimpleQueue.get

    class Queue(module.SimpleQueue):
        def get(self):
            if self.empty():
                n_before.append(sum(model.batches))
                decoder.let_slow_ones_go()
                decoder.held.clear()
            return get(self)

    monkeypatch.setattr(module, "SimpleQueue", Queue)
    model = Model()
    assert rows_of(images, decoder, model) == expected(images)
    assert len(n_before) == 1
    assert n_before[0] <= 20


def test_a_part_is_taken_once_there_is_room_for_its_images(monkeypatch):
    """However slow the decoder is, and it is kept busy."""
    monkeypatch.setattr(module, "_MAX_BYTES", 1000)
    monkeypatch.setattr(module, "PART_BYTES", 250)
    images, decoder = [SLOW + bytes(46)] * 60, Decoder(1, batch_size=100)
    n_bytes_before, n_done, get = list[int](), 0, module.SimpleQueue.get

    class Queue(module.SimpleQueue):
        def get(self):
            nonlocal n_done
            if self.empty():
                n_done += 1
                decoder.held.pop(0).set_result(None)
            return get(self)

    def all_parts() -> Iterator[Part]:
        for n, part in enumerate(parts(images)):
            n_bytes_before.append(250 * n - 50 * n_done)
            yield part

    monkeypatch.setattr(module, "SimpleQueue", Queue)
    found = embedded_rows(all_parts(), decoder, Model(), "float32", Supervision(), Spent())
    assert sum(len(rows.table) for rows in found if isinstance(rows, Rows)) == 60
    assert max(n_bytes_before) == 1000 - 250


def test_what_is_known_does_not_wait_for_a_batch_to_fill(monkeypatch):
    """Three images are new; thousands after them are known, and are not to be held in memory."""
    monkeypatch.setattr(module, "_MAX_OVERTAKING", 100)
    n_read, images = 0, [bytes([i + 1]) for i in range(3)]

    def all_parts() -> Iterator[Part]:
        nonlocal n_read
        yield from parts(images)
        for start in range(3, 5000, 10):
            keys = [f"{i:04d}" for i in range(start, start + 10)]
            rows = [ImageRow(key, is_complete=True, error="corrupt") for key in keys]
            members = [Member(f"{k}.jpg", k, "jpg", 0, 1, None, sha256=k) for k in keys]
            samples = [Sample(k, 0, [m], image=m) for k, m in zip(keys, members, strict=True)]
            n_read += 10
            yield Part(list(samples), rows)

    model = Model()
    found = embedded_rows(all_parts(), Decoder(1), model, "float32", Supervision(), Spent())
    next(event for event in found if isinstance(event, Rows))
    assert n_read < 1000
    assert sum(isinstance(event, Rows) for event in found) > 400
    assert model.batches == [3]


def test_nothing_to_embed():
    model = Model()
    assert rows_of([], Decoder(1), model) == []
    assert rows_of([BAD] * 7, Decoder(1), model) == expected([BAD] * 7)
    assert model.batches == []
