"""What a refresh says of its steps."""

import pytest

from curator_assets.defs.stages import GRAPH
from curator_assets.engine.freshness import Examined
from curator_assets.engine.stage import Failed
from curator_assets.engine.steps import Step, all_ended, taken

STAGES = {stage.name: stage for stage in GRAPH.stages}


@pytest.mark.parametrize(
    ("stage", "n_fresh", "stale", "undecided", "n_failed", "said"),
    [
        ("near_duplicate_pairs", 14, ["new"] * 2, [], 0, "2 cell groups to make, 14 fresh (2 new)"),
        ("filter_scores", 0, ["new"], ["later"], 0, "2 shards to make, 0 fresh (1 new, 1 later)"),
        ("filter_scores", 1, [], [], 0, "1 shard fresh, none to make"),
        ("filter_scores", 0, [], [], 2, "no shards fresh, none to make; 2 can't be made"),
        ("centroids", 0, ["forced"], [], 0, "to make (forced)"),
        ("centroids", 1, [], [], 0, "fresh"),
        ("centroids", 0, [], [], 1, "can't be made"),
    ],
)
def test_a_step_says_what_is_to_be_made_and_why(stage, n_fresh, stale, undecided, n_failed, said):
    examined = Examined(
        fresh=dict.fromkeys(range(n_fresh)),
        stale=dict(enumerate(stale)),
        undecided={f"u{i}": why for i, why in enumerate(undecided)},
        failed=[Failed(str(i), "broken") for i in range(n_failed)],
    )
    assert Step(STAGES[stage], 3, 9).begun(examined) == f"3 of 9: {stage}: {said}"


def test_a_step_says_how_many_lack_what_failed_before():
    step = Step(STAGES["filter_scores"], 2, 9, n_lacking=2)
    end = "1 shard fresh, none to make; 2 lack what they are made from"
    assert step.begun(Examined({"a": None}, {}, {}, [])) == f"2 of 9: filter_scores: {end}"
    assert all_ended([step]).endswith("no partitions made, 2 lack what they are made from")


def test_of_many_reasons_the_most_frequent_are_named_and_the_others_counted():
    step = Step(STAGES["filter_scores"], 2, 9)
    stale = {str(i): f"changed: {i}" for i in range(7)} | {"a": "changed: 3"}
    line = step.begun(Examined({}, stale, {}, []))
    assert "(2 changed: 3, 1 changed: 0," in line
    assert line.endswith(", 2 for other reasons)")
    lost = {str(i): f"missing: {i}.jpg" for i in range(9)}
    assert step.begun(Examined({}, lost, {}, [])).endswith("(9 with missing files)")
    one = step.begun(Examined({}, {"a": "missing: a.jpg"}, {}, []))
    assert one.endswith("(1 missing: a.jpg)")


def test_a_step_says_what_was_made_in_which_time():
    step = Step(STAGES["filter_scores"], 2, 9)
    assert step.ended(2, 0, 3.21) == "2 of 9: filter_scores: 2 made in 3.2 s"
    assert step.ended(0, 1, 75.0) == "2 of 9: filter_scores: 0 made, 1 failed in 75 s"
    steps = [
        Step(STAGES["filter_scores"], 1, 2, n_made=1, seconds=9.0),
        Step(STAGES["centroids"], 2, 2, n_failed=1, seconds=300.0),
    ]
    assert all_ended(steps) == "2 steps in 5 min: 1 partition made, 1 failed"
    assert all_ended([]) == "no steps in 0.0 s: no partitions made"


def test_a_time_is_said_in_its_own_unit():
    assert [taken(s) for s in (0.04, 9.94, 12.3, 5400)] == ["0.0 s", "9.9 s", "12 s", "1 h 30 min"]


def test_places_in_the_graph_agree_with_the_steps_of_a_refresh():
    always = [stage for stage in GRAPH.stages if not stage.is_optional]
    places = [GRAPH.place(stage) for stage in always]
    assert places == [f"{i + 1} of {len(always)}: " for i in range(len(always))]
    assert {GRAPH.place(stage) for stage in GRAPH.stages if stage.is_optional} == {""}
