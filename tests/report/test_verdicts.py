"""Pairs that people marked, from the table to what the report makes of them."""

import csv
from dataclasses import replace
from itertools import combinations

import numpy as np
import polars as pl
import pytest

from curator_assets.defs.output.curation_report import given_of
from curator_assets.report.numbers import marked_cosines
from curator_assets.report.numbers.duplicate_spread import GroupSizes
from curator_assets.report.numbers.duplicate_tables import duplicate_tables
from curator_assets.report.numbers.given import Given
from curator_assets.report.numbers.marked_cosines import counted_marks
from curator_assets.report.numbers.marked_pairs import Mark
from curator_assets.report.numbers.report_numbers import ReportNumbers, report_numbers
from curator_assets.report.numbers.sample_counts import count_samples
from curator_assets.report.numbers.trust import KeptImages
from curator_assets.storage.tables.pair_tables import RowNumbers

F32 = np.float32


@pytest.fixture(scope="module")
def given(finished) -> Given:
    return given_of(finished.work())


@pytest.fixture(scope="module")
def vectors(finished) -> dict[str, np.ndarray]:
    table = finished.table("embeddings/**/*.parquet").drop_nulls("embedding")
    return dict(zip(table["image_id"], table["embedding"].to_numpy(), strict=True))


def numbers_of(given: Given, files: list[str]) -> ReportNumbers:
    given = replace(given, verdict_files=files)
    found = duplicate_tables(given)
    besides = [found.kept_images]
    counts = count_samples(given.store, given.shards, given.settings, [], besides)
    return report_numbers(given, found, counts)


@pytest.fixture
def marked(finished, given):
    """Writes a table of verdicts, by the cosines of the pairs to mark, and reads the report."""
    report = finished.folder / "curated/report"
    rows = pl.read_csv(report / "pairs_to_mark.csv").to_dicts()
    path = report / "verdicts-test.csv"

    def mark(verdict, more=(), columns=None, **changes) -> ReportNumbers:
        with path.open("w", newline="") as file:
            writer = csv.DictWriter(file, columns or list(rows[0]), extrasaction="ignore")
            writer.writeheader()
            writer.writerows(r | changes | {"verdict": verdict(r["cosine"])} for r in rows)
            writer.writerows(more)
        return numbers_of(given, ["report/verdicts-test.csv"])

    yield mark
    path.unlink()


def test_a_small_corpus_with_all_pairs_marked_gets_the_plain_answer(marked, finished):
    to_mark = pl.read_csv(finished.folder / "curated/report/pairs_to_mark.csv")
    farthest, *others = sorted(F32(cosine) for cosine in to_mark["cosine"])
    typed = [float(f"{eps:.3g}") for eps in np.arange(0.0001, 0.03, 0.0001)]

    def smallest(cosine):
        return min(eps for eps in typed if F32(1 - eps) <= cosine)

    found = marked(lambda _: "duplicate").recommendation
    assert smallest(farthest) - 0.0001 < found.eps == found.low <= smallest(farthest)
    assert (found.high, found.n_more) == (0.03, None)
    found = marked(lambda cosine: "duplicate" if F32(cosine) > farthest else "different")
    recommended = found.recommendation
    assert smallest(others[0]) - 0.0001 < recommended.eps == recommended.low <= smallest(others[0])
    assert recommended.eps < recommended.high < smallest(farthest)
    assert found.summary["recommended_eps"] == found.recommendation.eps
    assert found.summary["recommended_by"] == "verdicts"


def test_what_the_recommended_eps_removes_is_told_and_pairs_that_nobody_was_shown(
    marked, given, monkeypatch
):
    resolve = given.resolver.n_removed_at
    found = marked(lambda _: "duplicate").recommendation
    assert found.n_removed == resolve([found.eps])[found.eps] > 0
    assert "was counted" not in found.why and "were counted" not in found.why
    monkeypatch.setattr(
        given.resolver,
        "n_removed_at",
        lambda grid: {eps: resolve(grid)[eps] + 2 * (eps > 0) for eps in grid},
    )
    other = marked(lambda _: "duplicate").recommendation
    assert (other.eps, other.n_removed) == (found.eps, found.n_removed + 2)
    assert "about 2 pairs that it removes are not among those that were counted here" in other.why


def test_a_mark_is_of_a_pair_that_there_is_whichever_of_the_two_is_kept(marked, vectors):
    found = marked(lambda _: "duplicate").duplicates
    mark = found.marks[0]
    assert not np.any(found.evidence.n_absent)
    more = {"image_id": mark.kept_id, "kept_id": mark.image_id, "cosine": mark.cosine}
    found = marked(lambda _: "", [more | {"verdict": "y"}]).duplicates
    assert len(found.marks) == 1 and not np.any(found.evidence.n_absent)
    asked = set(map(frozenset, found.to_mark.select("id", "kept_id").iter_rows()))
    assert mark.pair not in asked
    shown = {mark.pair} | asked
    near = ((a, b, vectors[a] @ vectors[b]) for a, b in combinations(sorted(vectors), 2))
    a, b, cosine = next(p for p in near if 0.97 < p[2] < 0.9999 and {*p[:2]} not in shown)
    row = {"image_id": a, "kept_id": b, "cosine": float(cosine), "verdict": "n"}
    found = marked(lambda _: "", [row]).duplicates
    assert len(found.marks) == np.sum(found.evidence.n_absent) == 1  # others stand for them


def test_trust_is_what_the_tables_say(marked, finished):
    groups = finished.table("duplicates/groups.parquet")
    verdicts = finished.table("shards/**/*.parquet")
    kept = set(verdicts.filter(pl.col("verdict") == "kept")["image_id"])
    assert set(groups["kept_id"]) <= kept
    found = marked(lambda cosine: "duplicate" if cosine > 0.99 else "different")
    trust, rows = found.trust, found.tables["precision"].to_dicts()
    assert (trust.search, trust.rule, trust.accounted) == ("exact", "greedy", True)
    assert (trust.n_removed, trust.n_without_kept) == (len(groups), 0)
    assert trust.lowest_cosine == groups["cosine"].min()
    removed = [row for row in rows if row["eps_to"] <= 0.01]
    assert trust.n_marked == sum(row["n_marked"] for row in removed) > 0
    assert trust.n_marked_duplicate == sum(row["n_duplicate"] for row in removed)
    assert trust.low == trust.high == trust.n_marked_duplicate / trust.n_marked  # all are marked
    told = finished.ledger.read("pair_recall").state
    assert (trust.recall.n_true, trust.recall.n_found) == (told["n_true"], told["n_found"])
    assert trust.recall.n_found == trust.recall.n_true > 0


def test_a_removed_image_without_a_kept_one_is_counted(given, finished):
    found = duplicate_tables(given)
    group = finished.table("duplicates/groups.parquet")
    kept = group["kept_id"][0]
    other = group.filter(pl.col("kept_id") == kept)
    frame = pl.DataFrame(
        {
            "shard": [other["kept_shard"][0]],
            "position": [other["kept_position"][0]],
            "verdict": ["filtered"],
        }
    )
    found.kept_images.add(frame)
    assert found.kept_images.n_without_kept == len(other)
    assert found.kept_images.n_not_looked_at == len(group) - len(other)


def test_a_removed_image_beyond_eps_has_no_kept_one_whatever_became_of_that():
    sizes = GroupSizes(3)
    found = KeptImages(RowNumbers({"a": 3}), sizes, 0.03)
    removed = pl.DataFrame({"cosine": F32([0.98, 0.96, 0.9]), "kept_row": [1, 1, 2]})
    sizes.add(removed)
    found.add_removed(removed)
    assert (found.n_without_kept, found.n_not_looked_at) == (2, 1)
    verdicts = {"shard": "a", "position": [0, 1, 2], "verdict": ["kept", "kept", "filtered"]}
    found.add(pl.DataFrame(verdicts))
    assert (found.n_without_kept, found.n_not_looked_at) == (2, 0)


def test_what_stands_for_a_removed_image_in_a_shard_that_is_left_out_is_not_vouched_for(
    given, finished
):
    groups = finished.table("duplicates/groups.parquet")
    last = groups["kept_shard"].mode().sort()[0]
    left = replace(given, shards=[s for s in given.shards if s != last], behind=[last])
    found = numbers_of(left, []).trust
    assert (found.n_removed, found.n_without_kept) == (len(groups), 0)
    assert found.n_not_looked_at == (groups["kept_shard"] == last).sum() > 0
    assert numbers_of(given, []).trust.n_not_looked_at == 0


@pytest.mark.parametrize("columns", [None, ["image_id", "kept_id", "cosine", "band", "verdict"]])
def test_verdicts_count_by_the_embeddings_and_not_by_what_the_table_says(marked, columns, vectors):
    found = marked(lambda _: "duplicate", columns=columns).duplicates
    assert found.marks and not found.left_out
    for mark in found.marks:
        plain = vectors[mark.image_id] @ vectors[mark.kept_id]
        assert mark.cosine == pytest.approx(plain, abs=1e-6)


def test_verdicts_of_another_model_and_of_other_images_are_named_and_left_out(
    marked, finished, given
):
    found = marked(lambda _: "duplicate", model="sha256:0123456789ab")
    left_out = found.recommendation.left_out
    assert found.summary["n_marked"] == 0 and found.recommendation.eps is None
    assert found.summary["n_marks_left_out"] == len(left_out) > 4
    assert "another model (sha256:0123456789ab; " + given.model in left_out[0].why
    first = found.duplicates.to_mark.row(0, named=True)
    gone = {"image_id": f"{first['shard']}/gone", "kept_id": first["kept_id"], "cosine": 0.99}
    other = {"image_id": first["id"], "kept_id": first["kept_id"], "cosine": 0.9}
    more = [row | {"verdict": "n", "model": given.model} for row in (gone, other)]
    found = marked(lambda _: "", more)
    assert found.summary["n_marked"] == 0
    whys = {mark.image_id: mark.why for mark in found.recommendation.left_out}
    assert "gone is no longer among the embedded images" in whys[gone["image_id"]]
    assert "its cosine was 0.9000 and is 0.99" in whys[first["id"]]
    assert "an image was replaced since" in whys[first["id"]]
    again = other | {"cosine": first["cosine"], "verdict": "y", "model": given.model}
    found = marked(lambda _: "", [*more, again])  # after it was replaced, with another verdict
    assert (found.summary["n_marked"], found.summary["n_marks_left_out"]) == (1, 1)
    assert found.duplicates.marks[0].is_duplicate
    older = marked(lambda _: "", [other | {"verdict": "n", "model": ""}]).recommendation.left_out
    assert "an image was replaced or the model is another" in older[0].why


def test_many_verdicts_are_looked_up_some_at_a_time(given, vectors, monkeypatch):
    ids, asked = sorted(vectors), list[int]()
    pairs = [(a, b) for i, a in enumerate(ids[:14]) for b in ids[:i]]
    plain = [Mark(a, b, float(vectors[a] @ vectors[b]), True) for a, b in pairs]
    look_up = marked_cosines._vectors

    def counted(store, shards, some):
        asked.append(len(some))
        return look_up(store, shards, some)

    expected = counted_marks(given.store, given.shards, plain, given.model)
    monkeypatch.setattr(marked_cosines, "_MARKS_AT_A_TIME", 10)
    monkeypatch.setattr(marked_cosines, "_vectors", counted)
    assert counted_marks(given.store, given.shards, plain, given.model) == expected
    assert len(expected[0]) == 91 and len(asked) == 10 and max(asked) <= 20


def test_a_calibration_makes_the_report_stale_and_speaks_where_nobody_marked(project):
    result = project.materialize("curation_report")
    assert result.success
    before = given_of(project.work())
    assert (before.calibration, before.why_no_calibration) == (None, "it was not run yet")
    project.changes["calibration"] = {"n_images": 3}
    project.materialize("eps_calibration")
    assert "eps_calibration" in project.plan()["curation_report"].stale[""]
    now = given_of(project.work())
    assert "JPEG quality 85" in now.calibration and now.why_no_calibration is None
    found = numbers_of(now, []).recommendation
    assert found.evidence == "calibration" and 0 < found.low <= found.eps <= found.high <= 0.03
