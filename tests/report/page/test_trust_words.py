from dataclasses import replace

import pytest

from curator_assets.report.numbers.trust import RecallFound
from curator_assets.report.page.trust_words import trust_sentence


def test_what_was_measured_is_one_sentence(trust):
    assert trust_sentence(trust, 0.03) == (
        "Exact search: each of the 1,234 removed images has a kept one within eps 0.03 (lowest "
        "cosine 0.9710); brute force on 2,000 images found 310 near-duplicates up to max_eps, and "
        "the search had all; "
        "117 of 120 marked pairs that eps removes are duplicates (97.50 %, at 95 % confidence "
        "between 92.90 % and 99.15 %); every sample that was read has one verdict."
    )


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"recall": None}, "; recall was not checked; "),
        ({"recall": RecallFound(0, 0, 0)}, "; recall was not checked; "),
        (
            {"recall": RecallFound(2000, 0, 0)},
            "brute force on 2,000 images found no near-duplicate, so that recall is not known",
        ),
        (
            {"recall": RecallFound(1, 1, 1)},
            "brute force on 1 image found 1 near-duplicate up to max_eps, and the search had it",
        ),
        (
            {"search": "fast", "recall": RecallFound(2000, 99_999, 99_998)},
            "found 99,999 near-duplicates up to max_eps, of which the search had 99,998 (recall > "
            "99.99 %)",
        ),
        ({"n_marked": 0}, "; no removed pair was marked by a person; "),
        (
            {"n_marked": 1, "n_marked_duplicate": 1, "low": 0.2, "high": 1.0},
            "1 of 1 marked pair that eps removes is a duplicate (100.00 %, at 95 %",
        ),
        ({"low": 0.975, "high": 0.975}, "are duplicates (97.50 %, and all such pairs are marked)"),
        ({"n_removed": 1}, "Exact search: the one removed image has a kept one within eps 0.03"),
        ({"n_removed": 0}, "Exact search: no image was removed as a duplicate;"),
        ({"n_without_kept": 1}, "1 of 1,234 removed images has no kept one within eps 0.03"),
        ({"n_without_kept": 2}, "2 of 1,234 removed images have no kept one within eps 0.03"),
        (
            {"n_not_looked_at": 34},
            "1,200 of 1,234 removed images have a kept one within eps 0.03 (lowest cosine 0.9710), "
            "and what stands for 34 lies in shards that are left out; ",
        ),
        ({"lowest_cosine": None}, "has a kept one within eps 0.03;"),
    ],
)
def test_each_part_says_what_it_is_or_that_it_was_not_measured(trust, changes, words):
    assert words in trust_sentence(replace(trust, **changes), 0.03)


def test_where_nothing_was_removed_no_marks_are_missed(trust):
    nothing = replace(trust, n_removed=0, n_marked=0)
    assert "marked" not in trust_sentence(nothing, 0.03)


def test_verdicts_that_do_not_add_up_are_not_said_to(trust):
    assert "has one verdict" in trust_sentence(trust, 0.03)
    assert "has one verdict" not in trust_sentence(replace(trust, accounted=False), 0.03)
