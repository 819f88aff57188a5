import io
import struct
import subprocess
import sys
import threading
import zlib
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from nvidia import nvimgcodec
from PIL import Image

from curator_assets.kernels.decode import ImageDecoder
from curator_assets.kernels.decode_memory import DecodingMemory, decoding_bytes, most_bytes
from curator_assets.kernels.resize import Preprocessing

MIB = 1 << 20


class Waiters:
    """Threads that each hold some bytes until they are told to let go."""

    def __init__(self, memory: DecodingMemory) -> None:
        self.memory = memory
        self.threads = ThreadPoolExecutor(8)
        self.has, self.let_go = dict[str, threading.Event](), dict[str, threading.Event]()

    def ask(self, name: str, n_bytes: int) -> None:
        has, let_go = threading.Event(), threading.Event()
        self.has[name], self.let_go[name] = has, let_go
        asked = len(self.memory._waiting) + 1

        def hold() -> None:
            with self.memory.hold(n_bytes):
                has.set()
                assert let_go.wait(60)

        self.threads.submit(hold)
        while not has.is_set() and len(self.memory._waiting) < asked:
            pass  # the next one asks after this one

    def done(self, name: str) -> None:
        self.let_go[name].set()

    def is_given(self, name: str, within: float = 60) -> bool:
        return self.has[name].wait(within)


@pytest.fixture
def waiters():
    made = Waiters(DecodingMemory(10))
    yield made
    for name in made.let_go:
        made.done(name)
    made.threads.shutdown()


def test_what_fits_is_held_at_once_and_the_rest_waits(waiters: Waiters) -> None:
    waiters.ask("a", 6)
    waiters.ask("b", 4)
    assert waiters.is_given("a")
    assert waiters.is_given("b")
    waiters.ask("c", 1)
    assert not waiters.is_given("c", 0.1)
    waiters.done("b")
    assert waiters.is_given("c")


def test_a_large_image_is_not_passed_by_small_ones(waiters: Waiters) -> None:
    waiters.ask("small", 2)
    waiters.ask("large", 9)
    waiters.ask("later", 2)
    assert waiters.is_given("small")
    assert not waiters.is_given("later", 0.1)  # 4 of 10 would be held, but the large one came first
    waiters.done("small")
    assert waiters.is_given("large")
    assert not waiters.is_given("later", 0.1)
    waiters.done("large")
    assert waiters.is_given("later")


def test_more_than_the_bound_is_held_alone(waiters: Waiters) -> None:
    waiters.ask("small", 1)
    waiters.ask("over", 11)
    assert not waiters.is_given("over", 0.1)
    waiters.done("small")
    assert waiters.is_given("over")


def test_what_an_error_held_is_free_again() -> None:
    memory = DecodingMemory(10)
    with pytest.raises(KeyError), memory.hold(10):
        raise KeyError
    with memory.hold(10):
        pass


def test_the_bound_is_never_exceeded_and_all_are_served() -> None:
    rng, memory, lock = np.random.default_rng(0), DecodingMemory(100), threading.Lock()
    held, peaks = [0], []

    def take(n_bytes: int) -> None:
        with memory.hold(n_bytes):
            with lock:
                held[0] += n_bytes
                peaks.append(held[0])
            with lock:
                held[0] -= n_bytes

    with ThreadPoolExecutor(8) as threads:
        list(threads.map(take, rng.integers(1, 101, 2000).tolist()))
    assert len(peaks) == 2000
    assert max(peaks) <= 100


def stream(data: bytes) -> nvimgcodec.CodeStream:
    return nvimgcodec.CodeStream(data)


def encoded(width: int, height: int, file_format: str, **options: object) -> bytes:
    file = io.BytesIO()
    Image.new("RGB", (width, height)).save(file, file_format, **options)
    return file.getvalue()


@pytest.mark.parametrize("file_format", ["JPEG", "PNG", "WEBP", "BMP", "TIFF", "JPEG2000"])
def test_every_ordinary_image_of_max_pixels_is_within_what_one_may_take(file_format: str) -> None:
    for width, height in ((1000, 1000), (1, 16000), (16000, 1)):
        data = encoded(width, height, file_format)
        assert decoding_bytes(stream(data)) <= most_bytes(width * height)
        assert decoding_bytes(stream(data)) > 6 * width * height


def tiff_with_a_tile(side: int) -> bytes:
    """One pixel in a tile of side x side, the first bytes of which are there."""
    data = zlib.compress(bytes(1000))
    tags = {256: 1, 257: 1, 258: 8, 259: 8, 262: 1, 277: 1, 322: side, 323: side, 325: len(data)}
    tags[324] = 8 + 2 + 12 * (len(tags) + 1) + 4
    entries = b"".join(
        struct.pack("<HHII", tag, 4 if tag > 300 else 3, 1, tags[tag]) for tag in sorted(tags)
    )
    return b"II*\0" + struct.pack("<IH", 8, len(tags)) + entries + bytes(4) + data


def test_a_tile_counts_whole_however_few_pixels_it_shows() -> None:
    assert decoding_bytes(stream(tiff_with_a_tile(4096))) > 4096 * 4096
    assert decoding_bytes(stream(encoded(1, 1, "TIFF"))) < 4 * MIB


def test_one_pixel_in_a_tile_of_four_gigabytes_is_refused() -> None:
    decoder = ImageDecoder(
        Preprocessing(64, (0, 0, 0), (1, 1, 1), "bicubic", "shortest", 0),
        device="cpu",
        batch_size=1,
        max_pixels=1_000_000,
        max_decoding_bytes=1 << 30,
        n_threads=1,
    )
    assert decoder([tiff_with_a_tile(65_520)]).errors == ["too many pixels"]


DECODE = """
import io, resource
from pathlib import Path
import numpy as np
from PIL import Image
from curator_assets.kernels.decode import ImageDecoder
from curator_assets.kernels.decode_memory import most_bytes
from curator_assets.kernels.resize import Preprocessing

def encoded(width, height, file_format, **options):
    file = io.BytesIO()
    Image.new("RGB", (width, height), (200, 100, 50)).save(file, file_format, **options)
    return file.getvalue()

def resident(name):
    status = Path("/proc/self/status").read_text().splitlines()
    return 1024 * next(int(line.split()[1]) for line in status if line.startswith(name + ":"))

RAW = Preprocessing(224, (0, 0, 0), (1 / 255,) * 3, "bicubic", "shortest", 0)
max_pixels = 5500 * 4000

def grown(images):
    decoder = ImageDecoder(
        RAW, device="cpu", batch_size=16, max_pixels=max_pixels, n_threads=8,
        max_decoding_bytes=most_bytes(max_pixels),
    )
    decoder([encoded(64, 64, "PNG"), encoded(64, 64, "JPEG")] * 8)
    Path("/proc/self/clear_refs").write_text("5")  # VmHWM begins anew
    before = resident("VmRSS")
    batch = decoder(images)
    assert batch.errors == [None] * len(images), batch.errors
    return resident("VmHWM") - before

thin = [encoded(1, 1_000_000, "PNG"), encoded(1_000_000, 1, "BMP")]
photo = encoded(5500, 4000, "JPEG", progressive=True, subsampling=0)
print(grown(thin), grown([photo] * 8), most_bytes(max_pixels))
"""


@pytest.fixture(scope="module")
def growth() -> tuple[int, int, int]:
    """Of a process over two thin images, over 8 photographs by 8 threads; the bound of these."""
    done = subprocess.run([sys.executable, "-c", DECODE], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-2000:]
    thin, together, bound = map(int, done.stdout.split())
    return thin, together, bound


def test_a_long_thin_image_takes_little_more_than_its_pixels(growth: tuple[int, int, int]) -> None:
    thin, _, _ = growth
    assert thin < 64 * MIB


def test_what_threads_decode_at_a_time_is_bounded(growth: tuple[int, int, int]) -> None:
    _, together, bound = growth
    assert bound < 8 * 9 * 5500 * 4000  # or the bound would show nothing
    assert together < bound
