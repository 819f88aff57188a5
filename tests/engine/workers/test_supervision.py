"""What kills a worker costs a row, and nothing else."""

import os
import signal
import subprocess
import sys
import time
from functools import partial
from pathlib import Path

import pytest
import traps

from curator_assets.engine.stage import Advanced, Failed, Finished
from curator_assets.engine.workers import idle, supervision
from curator_assets.engine.workers.supervision import WorkerDiedError, supervised
from curator_assets.kernels.image_format import DecodeError


@pytest.fixture
def work(pipeline):
    (pipeline.folder / "tars").mkdir()
    pipeline.changes = {"workers": {"max_memory_gib": 1}}
    return pipeline.work()


def outcomes(work, *partitions, run=traps.rows, trial=traps.trial, devices=("cpu",)):
    return list(supervised(run, trial, work, partitions, devices))


def rows(items) -> dict[str, str]:
    """What became of each image."""
    found = {}
    for item in items:
        if isinstance(item, Finished):
            found |= item.made.metadata["rows"]
    return found


@pytest.mark.parametrize(
    ("deed", "reason"),
    [
        ("crash", DecodeError.CRASHED),
        ("exit", DecodeError.CRASHED),
        ("hang", DecodeError.HUNG),
        ("eat", DecodeError.OUT_OF_MEMORY),
    ],
)
def test_an_image_that_ends_its_process_is_a_row_with_a_reason(work, pipeline, deed, reason):
    if deed == "hang":
        pipeline.changes = {"workers": {"max_seconds_per_image": 1}}
        work = pipeline.work()
    found = outcomes(work, "good-1,good-2", f"good-3,{deed},good-4", "good-5")
    assert rows(found) == dict.fromkeys([f"good-{i}" for i in range(1, 6)], "row") | {deed: reason}
    assert sum(item.n_rows for item in found if isinstance(item, Advanced)) == 6
    assert sum(isinstance(item, Finished) for item in found) == 3


def test_several_of_them_are_each_found(work):
    bad = {"crash-1": DecodeError.CRASHED, "crash-2": DecodeError.CRASHED}
    assert rows(outcomes(work, "crash-1,good-1,crash-2", "good-2")) == bad | {
        "good-1": "row",
        "good-2": "row",
    }


def test_of_those_that_native_code_has_together_the_one_is_found_in_halves(work):
    found = rows(outcomes(work, "good-1,good-2,good-3,crash", run=traps.rows_in_pairs))
    assert found.pop("crash") == DecodeError.CRASHED
    assert set(found.values()) == {"row"}


def test_on_several_devices_every_partition_is_made_once(work):
    partitions = [f"good-{i}" for i in range(20)] + ["crash"]
    found = outcomes(work, *partitions, devices=("cpu", "cpu"))
    made = [item.partition for item in found if isinstance(item, Finished)]
    assert sorted(made) == sorted(partitions)
    assert len({item.made.metadata["pid"] for item in found if isinstance(item, Finished)}) > 1


def test_a_worker_that_is_killed_from_outside_costs_no_row(work, tmp_path, caplog):
    killed = partial(traps.killed_at_first, folder=str(tmp_path), times=2)
    found = outcomes(work, "good-1,good-2", "good-3", run=killed)
    assert rows(found) == dict.fromkeys(["good-1", "good-2", "good-3"], "row")
    assert caplog.text.count("died of SIGKILL") == 2
    assert len(list(tmp_path.glob("killed-*"))) == 2


@pytest.fixture
def two_deaths_in_vain(monkeypatch):
    """For each there are trials, and each takes a process of its own."""
    monkeypatch.setattr(supervision, "MAX_DEATHS_IN_VAIN", 2)


@pytest.mark.usefixtures("two_deaths_in_vain")
def test_what_no_image_does_alone_costs_its_partition_by_name(work):
    run, trial = traps.dies_in_company, traps.harmless
    found = outcomes(work, "good-1,good-2", "in company,good", "good-3", run=run, trial=trial)
    (failed,) = [item for item in found if isinstance(item, Failed)]
    assert failed.partition == "in company,good"
    assert "died of SIGSEGV, 2 times in a row" in failed.error
    assert [i.partition for i in found if isinstance(i, Finished)] == ["good-1,good-2", "good-3"]


@pytest.mark.usefixtures("two_deaths_in_vain")
def test_beside_other_devices_it_costs_that_partition_alone_too(work):
    partitions = [f"good-{i}" for i in range(12)]
    partitions.insert(2, "in company,good")
    run, trial, devices = traps.dies_in_company, traps.harmless, ("cpu", "cpu")
    found = outcomes(work, *partitions, run=run, trial=trial, devices=devices)
    assert [i.partition for i in found if isinstance(i, Failed)] == ["in company,good"]
    made = [item.partition for item in found if isinstance(item, Finished)]
    assert sorted(made) == sorted(set(partitions) - {"in company,good"})


def test_a_worker_that_can_not_even_begin_is_an_error(work):
    with pytest.raises(WorkerDiedError, match="on cpu ended with exit code 3, 5 times in a row"):
        outcomes(work, "good", run=traps.dies_at_once)


def test_what_a_function_raises_is_raised_and_its_worker_serves_on(work, caplog):
    (pid,) = outcomes(work, run=traps.tells)
    with pytest.raises(KeyError, match="what the function raised"):
        outcomes(work, "good", run=traps.raises)
    assert outcomes(work, run=traps.tells) == [pid]
    assert caplog.messages.count("a line from a worker") == 2


def test_work_that_is_broken_off_ends_its_worker_and_leaves_nothing_half_written(work, pipeline):
    items = supervised(traps.writes, traps.harmless, work, ["a", "b", "c"], ["cpu"])
    pid = next(items)
    items.close()
    assert not Path(f"/proc/{pid}").exists()
    assert not [p for p in (pipeline.folder / "curated").rglob("*") if ".partial" in p.name]


DRIVER = """
import sys, time
from curator_assets.engine.workers import idle
print(idle.take("cpu").pid, flush=True)
time.sleep(1000)
"""


def test_a_worker_does_not_outlive_the_process_that_it_works_for():
    with subprocess.Popen(
        [sys.executable, "-c", DRIVER], stdout=subprocess.PIPE, text=True
    ) as driver:
        pid = int(driver.stdout.readline())
        os.kill(pid, 0)
        driver.send_signal(signal.SIGKILL)
    until = time.monotonic() + 20
    while Path(f"/proc/{pid}").exists() and time.monotonic() < until:
        time.sleep(0.05)
    assert not Path(f"/proc/{pid}").exists()


def test_where_no_other_process_sees_the_output_the_work_is_done_here(pipeline, caplog):
    (pipeline.folder / "tars").mkdir()
    pipeline.changes = {"output": f"memory://{pipeline.folder.name}"}
    assert outcomes(pipeline.work(), run=traps.tells) == [os.getpid()]
    assert "images are decoded in this process" in caplog.text


def test_idle_workers_are_kept_by_device_and_end_on_request(work):
    first = idle.take("cpu")
    idle.give_back("cpu", first)
    assert idle.take("cpu") is first
    idle.give_back("cpu", first)
    fresh = idle.take("cpu", fresh=True)
    assert fresh.pid != first.pid
    assert not first.is_alive()
    idle.give_back("cpu", fresh)
    idle.end_idle()
    assert not fresh.is_alive()


def test_a_limit_that_leaves_no_room_for_the_model_blames_no_image(work, pipeline):
    pipeline.changes = {"workers": {"max_memory_gib": 0.01}}
    with pytest.raises(WorkerDiedError, match=r"too much memory.*raise workers\.max_memory_gib"):
        outcomes(pipeline.work(), "good-1")


def test_the_memory_that_each_may_take_is_a_share_of_the_machines(work, pipeline):
    assert supervision._max_bytes(work, 2) == 2**30
    pipeline.changes = {}
    one, two = (supervision._max_bytes(pipeline.work(), n) for n in (1, 2))
    assert one == 2 * two
