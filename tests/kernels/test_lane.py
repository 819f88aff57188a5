"""The order in which a GPU's work is asked for, recorded by lanes on CPU."""

import io
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from nvidia import nvimgcodec

from curator_assets.demo.photos import crops
from curator_assets.kernels import decode_on_gpu
from curator_assets.kernels.decode_memory import DecodingMemory, decoding_bytes
from curator_assets.kernels.decode_on_cpu import CpuDecoder
from curator_assets.kernels.decode_on_gpu import GpuDecoder
from curator_assets.kernels.encode import EncoderModel
from curator_assets.kernels.lane import Lane, Mark
from curator_assets.kernels.pictures import Pictures
from curator_assets.kernels.resize import Preprocessing
from curator_assets.kernels.watching import unwatched
from curator_assets.models.open_clip_models import load_model

CPU = torch.device("cpu")
RAW = Preprocessing(64, (0, 0, 0), (1 / 255,) * 3, "bicubic", "shortest", 0)


class RecordedMark(Mark):
    def __init__(self, name: str, log: list[str]) -> None:
        self.name, self._log = name, log

    def wait(self) -> None:
        self._log.append(f"wait {self.name}")


class RecordedLane(Lane):
    """Writes down what a CUDA lane would be asked for."""

    def __init__(self) -> None:
        self.log: list[str] = []
        self._n_marks = 0

    @contextmanager
    def work(self) -> Iterator[None]:
        self.log.append("enter")
        yield
        self.log.append("leave")

    def mark(self) -> Mark:
        self._n_marks += 1
        self.log.append(f"mark {self._n_marks}")
        return RecordedMark(str(self._n_marks), self.log)

    def mark_caller(self) -> Mark:
        return RecordedMark("caller", self.log)

    def follow(self, mark: Mark) -> None:
        assert isinstance(mark, RecordedMark)
        self.log.append(f"follow {mark.name}")

    def use(self, tensor: torch.Tensor) -> None:
        self.log.append("use")

    def note(self, what: str, function: Any) -> Any:
        """The function, its calls written down."""

        def noted(*args: Any, **kwargs: Any) -> Any:
            self.log.append(what)
            return function(*args, **kwargs)

        return noted


def in_order(log: list[str], *events: str) -> bool:
    """Whether the log holds these events in this order, others between them."""
    rest = iter(log)
    return all(event in rest for event in events)


def photographs(n: int, file_format: str = "JPEG") -> list[bytes]:
    found = []
    for crop in crops()[:n]:
        buffer = io.BytesIO()
        crop.image.save(buffer, file_format)
        found.append(buffer.getvalue())
    return found


MEMORY = DecodingMemory(1 << 30)


class DecoderOnArrays(GpuDecoder):
    """Runs on CPU: DALI takes NumPy's arrays there, where it takes nvImageCodec's on a GPU."""

    def _decode(self, streams: list[Any]) -> list[Any]:
        images = super()._decode(streams)
        return [None if image is None else np.asarray(image) for image in images]


def gpu_decoder(lane: Lane) -> GpuDecoder:
    return DecoderOnArrays(RAW, device=CPU, batch_size=8, n_threads=1, lane=lane, memory=MEMORY)


def streams_of(images: list[bytes]) -> dict[int, Any]:
    return {i: nvimgcodec.CodeStream(data) for i, data in enumerate(images)}


def test_decoding_in_a_lane_reads_nothing_before_it_is_there(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    lane = RecordedLane()
    decoder = gpu_decoder(lane)
    images, pictures = photographs(4), Pictures.empty(4, 64, CPU)
    monkeypatch.setattr(decoder, "_decode", lane.note("decode", decoder._decode))
    monkeypatch.setattr(decoder, "_resize", lane.note("resize", decoder._resize))
    monkeypatch.setattr(decode_on_gpu, "measure", lane.note("measure", decode_on_gpu.measure))
    lane.log.clear()
    decoder.begin(streams_of(images), {0, 1, 2, 3}, pictures, unwatched)()
    in_the_lane = ["enter", "decode", "resize", "measure", "mark 1", "leave"]
    assert lane.log == ["follow caller", "use", *in_the_lane, "wait 1"]
    assert not np.isnan(pictures.statistics).any()


class HeldLane(RecordedLane):
    """A device that is busy until it is told otherwise."""

    def __init__(self) -> None:
        super().__init__()
        self.free = threading.Event()

    @contextmanager
    def work(self) -> Iterator[None]:
        assert self.free.wait(60)
        with super().work():
            yield


def test_batches_are_begun_without_waiting_for_the_device() -> None:
    lane = HeldLane()
    decoder, begun = gpu_decoder(lane), []
    for n in (3, 2, 5):
        images, pictures = photographs(n), Pictures.empty(n, 64, CPU)
        begun.append(
            (decoder.begin(streams_of(images), set(range(n)), pictures, unwatched), pictures)
        )
    assert "enter" not in lane.log
    lane.free.set()
    for finish, pictures in begun:
        finish()
        n = len(pictures.shapes)
        alone = Pictures.empty(n, 64, CPU)
        gpu_decoder(Lane()).begin(streams_of(photographs(n)), set(range(n)), alone, unwatched)()
        assert torch.equal(alone.pixels, pictures.pixels)
        assert np.array_equal(alone.statistics, pictures.statistics)
        assert np.array_equal(alone.shapes, pictures.shapes)
    assert in_order(lane.log, "wait 1", "enter", "wait 2", "enter", "wait 3")


@pytest.mark.parametrize(
    ("sizes", "groups"),
    [
        ([(10, 10)] * 3, [[0, 1, 2]]),
        ([(10, 10), (20, 30), (10, 10), (20, 25)], [[0], [1], [2, 3]]),
        ([(30, 30), (10, 10)], [[0], [1]]),
        ([], []),
    ],
)
def test_a_group_is_bounded_in_pixels(
    sizes: list[tuple[int, int]], groups: list[list[int]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(decode_on_gpu, "_GROUP_PIXELS", 600)
    assert grouped(announced(sizes), 1 << 40) == groups


def grouped(streams: dict[int, Any], max_bytes: int) -> list[list[int]]:
    return [rows for rows, _ in decode_on_gpu._groups(streams, max_bytes)]


def announced(sizes: list[tuple[int, int]]) -> dict[int, Any]:
    return {i: SimpleNamespace(height=h, width=w) for i, (h, w) in enumerate(sizes)}


def test_a_group_is_bounded_in_bytes() -> None:
    streams = announced([(20, 20), (20, 20), (300, 300), (10, 10), (10, 10)])
    two = decoding_bytes(streams[0]) * 2
    assert grouped(streams, two) == [[0, 1], [2], [3, 4]]
    assert grouped(streams, two - 1) == [[0], [1], [2], [3, 4]]


def test_what_is_no_whole_jpeg_is_decoded_as_on_cpu() -> None:
    images = photographs(3, "PNG")
    there = Pictures.empty(3, 64, CPU)
    CpuDecoder(RAW, n_threads=2, memory=MEMORY).begin(streams_of(images), there, unwatched)()
    pictures = Pictures.empty(3, 64, CPU)
    gpu_decoder(RecordedLane()).begin(streams_of(images), set(), pictures, unwatched)()
    assert torch.equal(pictures.pixels, there.pixels)
    assert np.array_equal(pictures.statistics, there.statistics)
    assert not pictures.again_on_cpu.any()


class Exhausted:
    """A device's decoder for which there is no memory; it says so, or only gives nothing."""

    def __init__(self, *, says_so: bool) -> None:
        self._says_so = says_so

    def decode(self, streams: list[Any], **_: Any) -> list[None]:
        if self._says_so:
            raise RuntimeError("cudaMallocAsync: out of memory")
        return [None] * len(streams)


@pytest.mark.parametrize("says_so", [True, False])
def test_what_the_device_gives_up_on_is_decoded_on_cpu(
    says_so: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    images, decoder = photographs(3), gpu_decoder(RecordedLane())
    monkeypatch.setattr(decoder, "_codec", Exhausted(says_so=says_so))
    there, pictures = Pictures.empty(3, 64, CPU), Pictures.empty(3, 64, CPU)
    CpuDecoder(RAW, n_threads=2, memory=MEMORY).begin(streams_of(images), there, unwatched)()
    decoder.begin(streams_of(images), {0, 1, 2}, pictures, unwatched)()
    assert torch.equal(pictures.pixels, there.pixels)
    assert pictures.again_on_cpu.tolist() == [True, True, True]


@pytest.fixture(scope="module")
def offline() -> EncoderModel:
    return load_model(
        "efficientnet_lite0",
        "imagenet",
        device="cpu",
        precision="float32",
        batch_size=2,
        n_threads=1,
    )


def test_encoding_follows_its_pixels_and_is_read_once_it_is_there(offline: EncoderModel) -> None:
    lane = RecordedLane()
    visual = lane.note("forward", offline.visual)
    model = replace(offline, lane=lane, visual=visual)
    pixels = torch.randn(3, 3, 224, 224, generator=torch.Generator().manual_seed(0))
    begun = model.begin(pixels)
    embeddings = begun()
    forward_pass = ["follow caller", "enter", "use", "forward"]
    for k in ("1", "2"):
        assert in_order(lane.log, *forward_pass, f"mark {k}", "leave", f"wait {k}")
    assert in_order(lane.log, *forward_pass, *forward_pass, "mark 2")
    assert np.array_equal(embeddings, offline.encode(pixels))
