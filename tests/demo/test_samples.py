"""The sample tars hold what their truth says."""

import io
import json
from collections import Counter
from importlib.resources import files
from pathlib import Path
from typing import NamedTuple

import pytest
from PIL import Image, ImageChops, ImageOps, ImageStat
from tar_files import read_members

from curator_assets.cli.demo import N_PHOTOGRAPHS
from curator_assets.demo.photos import crops
from curator_assets.demo.samples import (
    BROKEN,
    COPIES,
    FORMATS,
    make_shards,
    read_truth,
    write_truth,
)

PLANTED_CASES = {*COPIES, *FORMATS, *BROKEN, "same_key"}
IMAGE_EXTENSIONS = {"jpg", "png", "webp"}


class Made(NamedTuple):
    folder: Path
    truth: list
    samples: dict  # image id -> extension -> bytes, in order of arrival

    def of_case(self, case):
        return [planted for planted in self.truth if planted.case == case]

    def image_bytes(self, image_id):
        (data,) = (data for ext, data in self.samples[image_id].items() if ext in IMAGE_EXTENSIONS)
        return data

    def open(self, image_id):
        return Image.open(io.BytesIO(self.image_bytes(image_id)))


def make(folder, n_samples):
    truth = make_shards(folder, n_samples=n_samples, seed=0)
    samples = {}
    for tar in sorted(folder.rglob("*.tar")):
        shard = tar.relative_to(folder).with_suffix("").as_posix()
        for name, data in read_members(tar).items():
            key, _, ext = name.partition(".")
            samples.setdefault(f"{shard}/{key}", {})[ext] = data
    return Made(folder, truth, samples)


@pytest.fixture(scope="module", params=[40, N_PHOTOGRAPHS])
def made(request, tmp_path_factory):
    return make(tmp_path_factory.mktemp("tars"), request.param)


def test_two_runs_give_identical_tars(tmp_path):
    folders = [make(tmp_path / name, 40).folder for name in ("one", "two")]
    one, two = ({p.relative_to(f): p.read_bytes() for p in f.rglob("*.tar")} for f in folders)
    assert one == two


def test_another_seed_gives_other_samples(tmp_path):
    one, two = (
        sorted(p.case for p in make_shards(tmp_path / str(seed), n_samples=40, seed=seed))
        for seed in (0, 1)
    )
    assert one == two
    tars = [(tmp_path / str(seed) / "a/00000.tar").read_bytes() for seed in (0, 1)]
    assert tars[0] != tars[1]


def test_truth_names_every_sample_once(made):
    ids = [planted.id for planted in made.truth]
    assert len(ids) == len(set(ids))
    assert sorted(ids) == sorted(made.samples)


def test_truth_survives_its_file(made, tmp_path):
    write_truth(tmp_path / "truth.json", made.truth)
    assert read_truth(tmp_path / "truth.json") == made.truth


def test_every_sample_has_image_caption_and_metadata(made):
    cases = {planted.id: planted.case for planted in made.truth}
    for image_id, members in made.samples.items():
        assert len(members) == 3 and len(members.keys() & IMAGE_EXTENSIONS) == 1, image_id
        metadata = json.loads(members["json"])
        left, top, width, height = metadata["box"]
        assert metadata["package"] in {"scikit-image", "scikit-learn"}
        assert metadata["case"] in {cases[image_id], "photograph"}
        caption = members["txt"].decode()
        assert f"({left}, {top}), {width} by {height} pixels" in caption


def test_every_case_is_planted_and_shards_lie_in_two_folders(made):
    assert {planted.case for planted in made.truth} == PLANTED_CASES | {"photograph"}
    assert {image_id.split("/")[0] for image_id in made.samples} == {"a", "b"}


def test_full_set_has_300_different_photographs_in_six_shards(tmp_path):
    made = make(tmp_path, N_PHOTOGRAPHS)  # as many as the demo asks for
    kept = [planted.id for planted in made.truth if planted.expect == "kept"]
    assert len(kept) >= 300
    assert len({made.image_bytes(image_id) for image_id in kept}) == len(kept)
    assert len({image_id.rpartition("/")[0] for image_id in kept}) == 6


def test_no_crop_is_listed_twice():
    places = Counter((crop.photo, crop.box) for crop in crops())
    assert max(places.values()) == 1


def test_crops_lie_inside_their_photographs():
    folders = {"scikit-image": ("skimage", "data"), "scikit-learn": ("sklearn", "datasets/images")}
    for crop in crops():
        left, top, width, height = crop.box
        module, folder = folders[crop.package]
        with files(module).joinpath(folder, crop.photo).open("rb") as file:
            whole_width, whole_height = Image.open(file).size
        # Pillow silently fills what lies outside with black
        assert 0 <= left < left + width <= whole_width, crop
        assert 0 <= top < top + height <= whole_height, crop


@pytest.mark.parametrize("case", COPIES)
def test_copies_lie_within_and_across_shards_and_after_their_original(made, case):
    arrival = {image_id: i for i, image_id in enumerate(made.samples)}
    fates = {planted.id: planted.expect for planted in made.truth}
    same_shard = Counter()
    for copy in made.of_case(case):
        assert copy.expect == "duplicate" and fates[copy.of] == "kept"
        assert arrival[copy.of] < arrival[copy.id]
        same_shard[copy.id.rpartition("/")[0] == copy.of.rpartition("/")[0]] += 1
    assert same_shard[True] == same_shard[False] > 0


def test_byte_identical_copies_alone_share_their_bytes(made):
    for case in COPIES:
        for copy in made.of_case(case):
            identical = made.image_bytes(copy.id) == made.image_bytes(copy.of)
            assert identical == (case == "byte_identical"), copy


def test_sizes_of_copies_are_what_was_planted(made):
    for case, (low, high) in {
        "re_encoded": (1, 1),
        "brightened": (1, 1),
        "resized": (0.79, 0.81),
        "cropped": (0.97, 0.99),
    }.items():
        for copy in made.of_case(case):
            (width, height), (whole, tall) = made.open(copy.id).size, made.open(copy.of).size
            assert low <= width / whole <= high and low <= height / tall <= high, copy


def test_brightened_copies_are_brighter(made):
    for copy in made.of_case("brightened"):
        copied, original = (
            sum(value * n for value, n in enumerate(made.open(image).convert("L").histogram()))
            for image in (copy.id, copy.of)
        )
        assert copied > original, copy


def test_exif_tag_turns_the_stored_pixels_upright(made):
    for copy in made.of_case("exif_rotated_copy"):
        stored = made.open(copy.id)
        assert stored.getexif()[0x0112] == 6
        upright, original = ImageOps.exif_transpose(stored), made.open(copy.of)
        assert upright.size == original.size
        assert _mean_difference(upright, original) < 3  # of 255: JPEG loss only
    (kept,) = made.of_case("exif_rotated")
    assert made.open(kept.id).getexif()[0x0112] == 6


def _mean_difference(one, two):
    return max(ImageStat.Stat(ImageChops.difference(one, two)).mean)


@pytest.mark.parametrize(
    ("case", "image_format", "mode"),
    [
        ("png", "PNG", "RGB"),
        ("webp", "WEBP", "RGB"),
        ("grayscale", "JPEG", "L"),
        ("cmyk", "JPEG", "CMYK"),
        ("exif_rotated", "JPEG", "RGB"),
    ],
)
def test_special_formats_are_stored_as_said(made, case, image_format, mode):
    (planted,) = made.of_case(case)
    image = made.open(planted.id)
    assert (image.format, image.mode, planted.expect) == (image_format, mode, "kept")


def test_one_key_stands_in_two_shards_for_different_images(made):
    one, two = made.of_case("same_key")
    assert one.id != two.id and one.id.rpartition("/")[2] == two.id.rpartition("/")[2]
    assert made.image_bytes(one.id) != made.image_bytes(two.id)
    assert one.expect == two.expect == "kept"


def test_truncated_jpeg_opens_and_then_fails(made):
    (planted,) = made.of_case("truncated")
    image = made.open(planted.id)
    assert b"\xff\xda" in made.image_bytes(planted.id)  # cut in the entropy data, not the header
    with pytest.raises(OSError, match="truncated"):
        image.load()


def test_empty_and_text_files_are_named_jpg(made):
    (empty,), (text,) = made.of_case("empty"), made.of_case("text_named_jpg")
    assert made.samples[empty.id]["jpg"] == b""
    assert made.samples[text.id]["jpg"].isascii()
    with pytest.raises(OSError, match="cannot identify"):
        made.open(text.id)


def test_all_other_images_decode(made):
    for planted in made.truth:
        if not planted.expect.startswith("unreadable"):
            made.open(planted.id).load()
