"""Which eps the verdicts speak for; if there are too few, the altered copies."""

from dataclasses import replace

import numpy as np
import pytest

from curator_assets.report.numbers.cosine_bands import make_bands
from curator_assets.report.numbers.cosine_grid import CosineGrid
from curator_assets.report.numbers.marked_pairs import LeftOutMark, Mark
from curator_assets.report.numbers.marked_precision import Evidence, marked_precision
from curator_assets.report.numbers.recommendation import Recommendation, recommendation
from curator_assets.report.numbers.score_interval import Z, wilson

BANDS = make_bands(0.04, 0.06)  # identical, to .01, .02, .03, .04, then to .05 and .06
GRID = CosineGrid(BANDS)
F32 = np.float32


def evidence_of(pairs, marks: dict[float, bool] | list[tuple[float, bool]]) -> Evidence:
    """Of pairs and marks by their eps."""
    said = marks.items() if isinstance(marks, dict) else marks
    found = [Mark(str(i), "k", 1 - eps, right) for i, (eps, right) in enumerate(said)]
    return Evidence.of(GRID, GRID.counts(F32(1 - np.asarray(pairs, float))), found)


def recommended(evidence: Evidence, wished: float = 0.99, copies=None) -> Recommendation:
    why = None if copies else "it was not run yet"
    return recommendation(
        BANDS, GRID, evidence, wished=wished, copies=copies, why_no_copies=why, left_out=[]
    )


def by_marks(pairs, marks, wished: float = 0.99) -> Recommendation:
    return recommended(evidence_of(pairs, marks), wished)


EVEN = np.linspace(0.0001, 0.05995, 600)  # a hundred pairs a band


def test_the_grid_holds_what_a_person_would_type_and_counts_as_the_search_decides():
    assert {0.001, 0.0123, 0.0599, 0.06, 0.04} <= set(GRID.eps.tolist())
    assert GRID.eps[-1] == 0.06 and (np.diff(GRID.eps) > 0).all()
    cosines = F32(1 - np.random.default_rng(0).uniform(0, 0.07, 200))
    cosines = np.concatenate([cosines, F32([1, 1, 1 - 0.04])])
    within = np.cumsum(GRID.counts(cosines))
    for i in range(0, len(GRID.eps), 97):
        assert within[i] == ((cosines >= F32(1 - GRID.eps[i])) & (cosines < 1)).sum()
    assert len(CosineGrid(make_bands(0, 0)).eps) == 0


def test_few_pairs_all_marked_get_an_answer():
    found = by_marks([0.01, 0.02], {0.01: True, 0.02: True})
    assert (found.eps, found.low, found.high) == (0.02, 0.02, 0.06)  # nothing lies beyond
    assert found.why.endswith("No pair lies from there to eps 0.06.")
    found = by_marks([0.01, 0.0213, 0.03], {0.01: True, 0.0213: False, 0.03: True})
    assert (found.eps, found.low, found.high) == (0.01, 0.01, 0.0212)
    assert (found.evidence, found.n_more, found.where) == ("verdicts", None, None)
    assert "all are marked, 1 as duplicate: 100 %" in found.why


def test_it_is_never_0_unless_even_identical_pairs_are_refuted():
    found = by_marks(EVEN, {float(eps): False for eps in EVEN[::5]})
    assert found.eps == found.high == pytest.approx(0.0001, rel=0.01)
    assert 0 < found.eps < EVEN[0]
    found = by_marks(EVEN, [(0.0, False), (0.0, False), (0.001, True)])
    assert (found.eps, found.low, found.high) == (0, 0, 0)
    assert by_marks(EVEN, [(0.0, True), *((float(eps), True) for eps in EVEN[::5])]).eps > 0.05


def test_it_ends_at_the_data_and_before_a_known_wrong_pair():
    marks = {float(eps): bool(eps < 0.0237) for eps in EVEN[::3]}
    found = by_marks(EVEN, marks)
    last = max(eps for eps, right in marks.items() if right)
    first = min(eps for eps, right in marks.items() if not right)
    assert last <= found.eps < first
    assert float(f"{found.eps:.3g}") == found.eps
    assert found.low <= found.eps <= found.high < first + 0.001


def test_it_reaches_no_farther_than_the_marks():
    found = by_marks(EVEN, {float(eps): True for eps in EVEN[:330:5]})
    assert EVEN[325] <= found.eps < EVEN[326] <= found.high == 0.06
    assert found.n_more and found.where.startswith("cosine 0.96")


def test_a_wrong_pair_at_a_high_cosine_is_a_share_and_no_jump():
    marks = {float(eps): True for eps in EVEN[::4]} | {float(EVEN[4]): False}
    assert by_marks(EVEN, marks).eps > 0.059  # 149 of 150
    fewer = {float(eps): True for eps in EVEN[::5]} | {float(EVEN[5]): False}
    found = by_marks(EVEN, {eps: right for eps, right in fewer.items() if eps < 0.04})
    assert EVEN[395] <= found.eps < EVEN[400]
    assert found.low < 0.001 and "98.7 %" in found.why
    assert found.why.endswith("The target is 99 %, which one wrong pair can't refute.")
    exactly = by_marks(EVEN[:80], {float(eps): i != 5 for i, eps in enumerate(EVEN[:80])})
    assert exactly.eps < EVEN[5]  # nothing is left to chance
    marks |= {float(EVEN[8]): False, float(EVEN[12]): False}
    assert by_marks(EVEN, marks).eps < EVEN[4]  # 147 of 150 are fewer than 99 of 100 but for one
    assert by_marks(EVEN, marks, wished=0.97).eps > 0.059


def test_bands_are_weighed_by_their_pairs():
    pairs = np.concatenate([np.linspace(0.0001, 0.0099, 10_000), np.linspace(0.011, 0.019, 200)])
    marks = {float(eps): True for eps in pairs[:10_000:500]}
    marks |= {float(eps): i % 5 != 2 for i, eps in enumerate(pairs[10_000::10])}
    found = marked_precision(GRID, BANDS, evidence_of(pairs, marks), 0.99)
    at = int(np.flatnonzero(GRID.eps == 0.02)[0])
    assert found.share[at] == pytest.approx((10_000 + 200 * 16 / 20) / 10_200)
    assert found.share[at] > 0.99 and not found.is_precise[at]  # the farther ones are refuted
    assert 0.0114 <= recommended(evidence_of(pairs, marks)).eps < 0.01181


def test_the_interval_is_wilsons_for_one_band_and_nothing_is_open_once_all_is_marked():
    pairs = np.linspace(0.0001, 0.0099, 10**6)
    marks = {float(eps): i % 10 != 3 for i, eps in enumerate(pairs[:: 10**4])}
    found = marked_precision(GRID, BANDS, evidence_of(pairs, marks), 0.5)
    at = int(np.flatnonzero(GRID.eps == 0.01)[0])
    np.testing.assert_allclose((found.low[at], found.high[at]), wilson(90, 100), atol=1e-4)
    known = marked_precision(GRID, BANDS, evidence_of(EVEN, {e: e < 0.03 for e in EVEN}), 0.5)
    np.testing.assert_allclose(known.low, known.share)
    np.testing.assert_allclose(known.high, known.share)


def test_so_many_more_marks_make_it_sure():
    pairs = np.linspace(0.0001, 0.0595, 60_000)
    found = by_marks(pairs, {float(eps): True for eps in pairs[:: 60_000 // 120]})
    needed = Z**2 * 0.99 / 0.01  # of a sample of all pairs alike
    assert found.low < found.eps
    assert found.n_more == pytest.approx(needed - 120, rel=0.1)
    n = 120 + found.n_more
    assert by_marks(pairs, {float(eps): True for eps in pairs[:: 60_000 // (n + 20)]}).low > 0.059


def test_marks_of_pairs_that_are_no_more_leave_those_that_there_are_unmarked():
    pairs = np.linspace(0.001, 0.0595, 40)
    marks = [Mark(str(i), "k", 1 - eps, True) for i, eps in enumerate(pairs.tolist())]
    n_pairs = GRID.counts(F32(1 - pairs))
    known, other = (Evidence.of(GRID, n_pairs, marks, absent) for absent in ([], marks))
    found = recommended(known)
    assert (found.eps, found.low, found.n_more) == (0.0595, 0.0595, None)
    assert "all are marked" in found.why
    found = recommended(other)
    assert found.low < 0.01 < found.eps and 20 < found.n_more <= 40  # of the pairs that there are
    assert "all are marked" not in found.why
    none = recommended(Evidence.of(GRID, np.zeros_like(n_pairs), marks, marks))
    assert none.n_more is None


def plainly(pairs: list[float], right: list[bool], wished: float) -> float:
    """The eps by the rule, where all pairs are marked, by loops."""
    rows = sorted(zip(pairs, right, strict=True))
    found, n_found = 0.0, 0
    for eps in GRID.eps.tolist():
        inside = [is_right for at, is_right in rows if F32(1 - at) >= F32(1 - eps)]
        beyond = [is_right for at, is_right in rows if F32(1 - at) < F32(1 - eps)]
        farthest_is_inside = any(inside[-1:]) or any(beyond) or not inside
        precise = sum(inside) >= wished * len(inside) and farthest_is_inside
        ends = [inside[i:] for i in range(len(inside)) if not inside[i]]
        if precise and all(wilson(sum(end), len(end))[1] >= wished for end in ends):
            found = eps if not inside or len(inside) > n_found else found
            n_found = len(inside)
    return found


@pytest.mark.parametrize("seed", range(12))
def test_where_all_is_marked_it_is_the_plain_share(seed):
    rng = np.random.default_rng(seed)
    pairs = np.sort(rng.uniform(0.0005, 0.06, rng.integers(1, 60)))
    right = (rng.random(len(pairs)) < 1 - 5 * pairs * rng.random()).tolist()
    wished = float(rng.choice([0.9, 0.95, 0.99, 1]))
    found = by_marks(pairs, list(zip(pairs.tolist(), right, strict=True)), wished)
    assert found.eps == plainly(pairs.tolist(), right, wished)
    assert found.low <= found.eps <= found.high


def with_mark(evidence: Evidence, cell: int, right: bool) -> Evidence:
    more = np.zeros(len(GRID.eps), np.int64)
    more[cell] = 1
    n_right = evidence.n_right + more * right
    return replace(evidence, n_marked=evidence.n_marked + more, n_right=n_right)


@pytest.mark.parametrize("seed", range(8))
def test_a_duplicate_never_lowers_it_and_a_different_pair_never_raises_it(seed):
    rng = np.random.default_rng(seed)
    cells = GRID.cell_of(F32(1 - rng.uniform(0, 0.06, rng.choice([5, 60, 2_000]))))
    n_pairs = np.bincount(cells, minlength=len(GRID.eps) + 1)[: len(GRID.eps)]
    shown = rng.choice(cells, rng.integers(10, 50))
    evidence = Evidence(n_pairs, np.zeros_like(n_pairs), np.zeros_like(n_pairs))
    wrong_share, wished = rng.choice([0, 0.02, 0.2]), float(rng.choice([0.3, 0.8, 0.95, 0.99]))
    after = recommended(evidence, wished), marked_precision(GRID, BANDS, evidence, wished)
    for cell in shown[shown < len(GRID.eps)].tolist():
        before, right = after, bool(rng.random() >= wrong_share)
        evidence = with_mark(evidence, cell, right)
        after = recommended(evidence, wished), marked_precision(GRID, BANDS, evidence, wished)
        nearer, farther = (after, before) if not right else (before, after)
        assert (nearer[1].share <= farther[1].share + 1e-12).all()
        assert (nearer[1].is_precise <= farther[1].is_precise).all()
        if None not in (nearer[0].eps, farther[0].eps):
            assert nearer[0].eps <= farther[0].eps
        if right:
            assert (before[1].low <= after[1].low + 1e-12).all()
        else:
            assert (before[1].high >= after[1].high - 1e-12).all()


def copies(same: np.ndarray, random: np.ndarray) -> dict[str, np.ndarray]:
    return {
        "JPEG quality 85": F32(same),
        "crop by 10 %": F32(same - 0.1),
        "random pairs": F32(random),
    }


def test_without_marks_it_is_what_finds_nearly_all_copies_that_leave_the_picture_the_same():
    same, random = np.linspace(1, 0.98, 101), np.linspace(0.1, 0.7, 1_000)
    found = recommended(evidence_of(EVEN, []), copies=copies(same, random))
    assert (found.eps, found.low, found.high) == (0.019, 0.018, 0.06)
    assert found.evidence == "calibration"
    assert "finds 95 % of the copies" in found.why and "below cosine 0.694" in found.why
    far = recommended(evidence_of(EVEN, []), copies=copies(same - 0.0451, random))
    assert far.eps == far.high == 0.06 and "finds 74.3 % of the copies" in far.why


def test_copies_do_not_speak_for_an_eps_that_finds_random_pairs_or_that_verdicts_refute():
    same, random = np.linspace(1, 0.98, 101), np.linspace(0.1, 0.7, 1_000)
    random[:8] = 1  # the images' own duplicates
    assert recommended(evidence_of(EVEN, []), copies=copies(same, random)).eps == 0.019
    random[:20] = 0.9751
    found = recommended(evidence_of(EVEN, []), copies=copies(same, random))
    assert (found.eps, found.high) == (0.0124, 0.0124)
    assert "95 % is not reached, though aimed at" in found.why
    found = recommended(evidence_of(EVEN, []), copies=copies(same - 0.0601, random))
    assert (found.eps, found.evidence) == (None, "none") and "No copy" in found.why
    random[:20] = 1
    found = recommended(evidence_of(EVEN, []), copies=copies(same, random))
    assert (found.eps, found.evidence) == (None, "none") and "all alike" in found.why
    marks = {float(EVEN[i]): i < 100 for i in (1, 2, 110)}
    found = recommended(evidence_of(EVEN, marks), copies=copies(same, random[20:]))
    assert found.evidence == "calibration" and found.eps == found.high < EVEN[110]
    assert found.why.startswith("3 marked pairs can't tell yet. ")


def test_without_any_evidence_it_says_what_to_do():
    found = recommended(evidence_of(EVEN, []))
    assert (found.eps, found.low, found.high, found.evidence) == (None, None, None, "none")
    assert found.why == "Mark pairs, or run curate calibrate (it was not run yet)."
    assert found.n_more > 100 and found.where == "cosine 0.94 to 1"
    nothing = recommended(evidence_of([], []))
    assert (nothing.eps, nothing.n_more) == (None, None)
    bands = make_bands(0, 0)
    grid, left = CosineGrid(bands), [LeftOutMark("a", "b", "gone")]
    none = recommendation(
        bands,
        grid,
        Evidence.of(grid, grid.counts(np.zeros(0, F32)), []),
        wished=0.99,
        copies=copies(np.ones(3), np.zeros(3)),
        why_no_copies=None,
        left_out=left,
    )
    assert none.eps is None and none.left_out == left
