"""What the galleries show: each pair once, and no more than a page holds."""

import base64
from collections import Counter
from types import SimpleNamespace

import numpy as np
import polars as pl
import pytest

from curator_assets.report.numbers.cosine_bands import IDENTICAL, make_bands
from curator_assets.report.numbers.drawn_pairs import N_IDENTICAL
from curator_assets.report.numbers.duplicate_tables import N_LOWEST
from curator_assets.report.numbers.group_members import N_LARGEST
from curator_assets.report.numbers.group_members import N_MEMBERS as N_KNOWN
from curator_assets.report.numbers.marked_pairs import N_TO_MARK
from curator_assets.report.numbers.removal_frames import BANDED
from curator_assets.report.numbers.sample_counts import MAX_BOUNDS, MAX_NEAR
from curator_assets.report.pictures.captions import MAX_SHORT, MAX_WHOLE
from curator_assets.report.pictures.data_uri import data_uri
from curator_assets.report.pictures.examples import N_MEMBERS, N_NEAREST, Examples
from curator_assets.report.pictures.galleries import Found, make_galleries
from curator_assets.report.pictures.gallery_pictures import MAX_THUMBNAIL_BYTES, GalleryPictures

MAX_PICTURES_BYTES = 14_500_000
BANDS = make_bands(0.03, 0.05)


def pairs(ids: list[str], band: int, kept: str = "k") -> pl.DataFrame:
    """Pairs whose kept image is `kept` and, if that is short, one of their own."""
    kept_ids = [kept if len(kept) > 1 else f"{kept}{i}" for i in ids]
    numbers = {name: int.from_bytes(name.encode()[-4:]) % 2**30 for name in [*ids, *kept_ids]}
    columns = {
        "shard": ["s"] * len(ids),
        "position": [numbers[name] for name in ids],
        "id": ids,
        "kept_id": kept_ids,
        "cosine": np.full(len(ids), 0.98, np.float32),
        "kept_shard": ["k"] * len(ids),
        "kept_position": [numbers[name] for name in kept_ids],
        "band": [band] * len(ids),
    }
    others = {name: [None] * len(ids) for name in BANDED if name not in columns}
    return pl.DataFrame(columns | others, schema=BANDED)


def tables(**changes) -> SimpleNamespace:
    none = pairs([], 1)
    nothing = {"to_mark": none, "identical": none, "lowest": none, "largest": [], "members": {}}
    return SimpleNamespace(**{"bands": BANDS, "n_filled_in_place": 0} | nothing | changes)


@pytest.fixture
def shown(monkeypatch):
    """The galleries of some tables, without a picture."""
    monkeypatch.setattr(
        "curator_assets.report.pictures.gallery_pictures.read_images", lambda *_: {}
    )

    def make(duplicates, facts=None, captions=None):
        facts, captions = facts or {}, captions or {}
        found = Found.look(Examples.choose(duplicates), [], facts, captions)
        pictures = GalleryPictures(None, None, found.addresses(), facts, captions)
        return make_galleries(found, pictures, BANDS)

    return make


def names(gallery) -> list[list[str]]:
    return [[picture.image_id for picture in row.pictures] for row in gallery.rows]


def shown_pairs(galleries) -> Counter:
    rows = [galleries.nearest, *galleries.bands, *galleries.doubtful, galleries.largest]
    rows = [row.pictures for gallery in rows for row in gallery.rows]
    return Counter((p.image_id, row[0].image_id) for row in rows for p in row[1:])


def test_a_page_of_the_most_that_galleries_ask_for_is_small_enough(shown):
    ids = {band: [f"{band}{i:03}" for i in range(N_TO_MARK)] for band in range(len(BANDS))}
    group = pairs([f"m{i:03}" for i in range(N_KNOWN)], 2, "group").to_dicts()
    lowest = pairs([f"l{i:03}" for i in range(N_LOWEST)], 3)
    addresses = [(row["shard"], row["position"]) for row in lowest.to_dicts()]
    addresses += [(row["kept_shard"], row["kept_position"]) for row in lowest.to_dicts()]
    half = len(addresses) // 4
    facts = {
        address: {"width": 9 + i, "height": 9, "format": "jpeg", "n_bytes": 1}
        for i, address in enumerate(addresses)
    }
    captions = {address: f"{i}" for i, address in enumerate(addresses) if i % 200 < half}
    duplicates = tables(
        to_mark=pl.concat([pairs(of_band, band) for band, of_band in ids.items()]),
        identical=pairs([f"same{i}" for i in range(N_IDENTICAL)], IDENTICAL),
        lowest=lowest,
        largest=[("group", 99)] * N_LARGEST,
        members={"group": group},
    )
    galleries = shown(duplicates, facts, captions)
    assert [len(gallery.rows) for gallery in galleries.doubtful] == [8, 8]
    n_pictures = len(list(galleries.pictures())) + max(2 * 80, 2 * MAX_BOUNDS, 2 * MAX_NEAR)
    assert n_pictures > 500
    text_bytes = 6 * (MAX_SHORT + MAX_WHOLE)  # as a page has a control character
    assert n_pictures * (MAX_THUMBNAIL_BYTES * 4 / 3 + text_bytes) < MAX_PICTURES_BYTES


def test_a_pair_is_shown_once_and_keeps_its_number(shown):
    lowest = pairs([f"l{i:03}" for i in range(30)], 3)
    group = pairs([f"m{i:03}" for i in range(20)], 3, "group")
    to_mark = pl.concat([lowest[4:20], group[:2]])
    duplicates = tables(
        to_mark=to_mark,
        identical=pairs(["same"], IDENTICAL),
        lowest=pl.concat([group[:3], lowest]),
        largest=[("group", 21), ("kl001", 2)],
        members={"group": group.to_dicts(), "kl001": lowest[1:2].to_dicts()},
    )
    galleries = shown(duplicates)
    assert max(shown_pairs(galleries).values()) == 1
    lines = {key: line for line, key in enumerate(to_mark["id"], 2)}
    rows = [galleries.nearest, *galleries.bands]
    numbers = {r.pictures[1].image_id: r.number for g in rows for r in g.rows if r.number}
    assert numbers == lines
    assert names(galleries.nearest)[:4] == [["group", f"m00{i}"] for i in range(3)] + [
        ["kl000", "l000"]
    ]
    assert len(galleries.nearest.rows) == N_NEAREST
    assert names(galleries.bands[0]) == [["ksame", "same"]]
    assert galleries.bands[0].rows[0].number is None
    assert "3 more of the sample are shown at the top" in galleries.bands[1].about
    (of_group,) = galleries.largest.rows
    assert of_group.heading == "21 images, 3 of them above"
    assert "Shown above in whole: 1 of the 2 largest groups." in galleries.largest.about
    assert [p.image_id for p in of_group.pictures[1:]] == [
        f"m{i:03}" for i in range(3, 3 + N_MEMBERS)
    ]


def test_rows_of_a_table_that_was_left_as_it_was_bear_no_numbers(shown):
    duplicates = tables(to_mark=pairs(["a", "b"], 2), n_filled_in_place=1)
    (band,) = shown(duplicates).bands
    assert [row.number for row in band.rows] == [None, None]
    assert "line in" not in band.about


def test_a_caption_is_said_once(shown):
    lowest = pairs(["same", "other", "none"], 2)
    rows = lowest.to_dicts()
    captions = {(row["kept_shard"], row["kept_position"]): "a dog" for row in rows}
    captions |= {("s", rows[0]["position"]): "a dog", ("s", rows[1]["position"]): "a cat"}
    said = [
        [(p.caption, p.short_caption) for p in row.pictures]
        for row in shown(tables(lowest=lowest), captions=captions).nearest.rows
    ]
    dog = ("a dog", "a dog")
    assert said == [[dog, ("a dog", None)], [dog, ("a cat", "a cat")], [dog, (None, None)]]


def test_a_picture_that_can_not_be_had_takes_no_room(shown):
    (row,) = shown(tables(lowest=pairs(["a"], 2))).nearest.rows
    assert [(p.src, p.width, p.height, p.guess) for p in row.pictures] == [(None, 0, 0, "")] * 2
    assert row.pictures[0].cosine is None
    assert row.pictures[1].cosine == pytest.approx(0.98)


def test_a_picture_within_the_page_is_whole():
    head, _, text = data_uri(b"\xff\xd8jpeg", "jpeg").partition(",")
    assert head == "data:image/jpeg;base64"
    assert base64.b64decode(text) == b"\xff\xd8jpeg"
