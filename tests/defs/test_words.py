"""What a partition, or several together, is said to be."""

import pytest

from curator_assets.defs.stages import GRAPH
from curator_assets.settings import Settings

STAGES = {stage.name: stage for stage in GRAPH.stages}
VERDICTS = ("n_samples", "n_kept", "n_duplicates", "n_filtered", "n_unreadable")


def said(stage: str, *numbers: int, **changes) -> str:
    """By the numbers of what the stage counts, in its order."""
    settings = Settings(source="tars", output="out", **changes)
    return STAGES[stage].words(dict(zip(STAGES[stage].counts, numbers, strict=True)), settings)


def verdicts(*numbers: int, **changes) -> str:
    settings = Settings(source="tars", output="out", **changes)
    told = dict(zip(VERDICTS, numbers, strict=True))
    words = {s.words(told, settings) for s in GRAPH.stages if set(VERDICTS) <= set(s.counts)}
    assert len(words) == 1  # the report says it of all as a tar does of its own
    return words.pop()


@pytest.mark.parametrize(
    ("numbers", "words"),
    [
        (
            (1352, 1310, 34, 5, 3),
            "1,352 samples: 1,310 kept, 34 duplicates of kept images, 5 filtered, 3 unreadable",
        ),
        ((2, 1, 1, 0, 0), "2 samples: 1 kept, 1 duplicate of a kept image"),
        ((1, 1, 0, 0, 0), "1 sample: 1 kept, no duplicates"),
        ((1, 0, 0, 0, 1), "1 sample: none kept, no duplicates, 1 unreadable"),
        ((0, 0, 0, 0, 0), "no samples"),
    ],
)
def test_verdicts(numbers, words):
    assert verdicts(*numbers) == words


def test_only_the_greedy_rule_promises_that_what_stands_for_a_duplicate_is_kept():
    assert verdicts(9, 6, 3, 0, 0, duplicates={"rule": "semdedup"}) == (
        "9 samples: 6 kept, 3 duplicates"
    )


@pytest.mark.parametrize(
    ("stage", "numbers", "words"),
    [
        ("centroids", (0, 0), "one cell for everything: there is no image to train on yet"),
        (
            "cluster_assignments",
            (1, 0),
            "1 image in its cell; no visits to other cells near enough",
        ),
        (
            "cluster_assignments",
            (62, 1),
            "62 images in their cells; 1 visit to another cell near enough",
        ),
        ("near_duplicate_pairs", (0, 0, 0, 0), "no pairs of images within max_eps 0.05"),
        (
            "near_duplicate_pairs",
            (1, 0, 1, 0),
            "1 pair of images within max_eps 0.05, with equal embeddings",
        ),
        (
            "near_duplicate_pairs",
            (3, 2, 1, 40),
            "3 pairs of images within max_eps 0.05, 1 of them with equal embeddings; 40 images in "
            "clumps too dense to list every pair",
        ),
        ("duplicate_groups", (9, 0, 0, 1), "no duplicates among 9 images at eps 0.03"),
        (
            "duplicate_groups",
            (9, 1, 1, 2),
            "1 duplicate among 9 images at eps 0.03, in 1 group; the largest has 2 images",
        ),
        ("duplicate_ids", (0, 0), "no duplicates to remove here at eps 0.03"),
        ("duplicate_ids", (1, 1), "1 duplicate to remove here at eps 0.03"),
        ("eps_calibration", (1, 0), "copies of 1 image compared with their originals"),
        (
            "eps_calibration",
            (2, 1),
            "copies of 2 images compared with their originals; 1 image could not be copied",
        ),
    ],
)
def test_stages(stage, numbers, words):
    assert said(stage, *numbers, duplicates={"eps": 0.03, "max_eps": 0.05}) == words


def test_scores_name_their_heads():
    assert said("filter_scores", 2) == "2 samples; there are no scores: the settings name no heads"
    head = {"weights": "beauty.pt", "embedding_model": "ViT-L-14"}
    assert said("filter_scores", 1, heads={"beauty": head}) == "1 sample, scored by 1 head: beauty"


def test_embeddings_say_what_was_encoded():
    told = dict.fromkeys(STAGES["image_embeddings"].counts, 0)
    told |= {"n_samples": 64, "n_encoded": 40, "n_reused": 22, "n_unreadable": 2}
    words = STAGES["image_embeddings"].words(told, Settings(source="tars", output="out"))
    assert words == "64 samples: 40 encoded, 22 reused from the same bytes; 2 unreadable"


def test_every_stage_has_words():
    assert all(stage.words for stage in GRAPH.stages)
