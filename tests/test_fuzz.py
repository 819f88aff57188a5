import random
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from encoded_images import make_decoder

from curator_assets.kernels.resize import Preprocessing

BENCHMARKS = Path(__file__).parents[1] / "benchmarks"


def test_no_sample_of_a_damaged_tar_is_lost_without_a_word():
    command = [sys.executable, str(BENCHMARKS / "fuzz.py"), "--tars", "24", "--seed", "7"]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=300)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "in no row and no message: 0; refreshes that died: 0" in done.stdout


def test_no_damaged_image_changes_a_good_one_beside_it(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.syspath_prepend(BENCHMARKS)
    from fuzz_images import damaged
    from image_files import KINDS, picture

    decoder = make_decoder(
        Preprocessing(64, (0, 0, 0), (1, 1, 1), "bicubic", "shortest", 0), max_pixels=1_000_000
    )
    good = [maker(picture(60, 50, i)) for i, maker in enumerate([KINDS["JPEG"], KINDS["PNG"]])]
    alone, rng, errors = decoder(good), random.Random(7), set()
    made = [damaged(rng, i) for i in range(600)]
    # JPEG 2000 only where a crash is contained
    bad = [data for key, data in made if not key.startswith("jpeg2000")]
    for start in range(0, len(bad), 62):
        batch = decoder([good[0], *bad[start : start + 62], good[1]])
        assert batch.errors[0] is batch.errors[-1] is None
        assert torch.equal(batch.pixels[[0, -1]], alone.pixels)
        errors |= set(batch.errors)
    assert {None, "corrupt", "truncated", "not an image", "too many pixels"} <= errors
