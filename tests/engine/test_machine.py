"""A machine is known by what the pace of its work goes by."""

from curator_assets.engine.machine import machine


def test_a_machine_is_told_by_its_processor_and_its_gpus(tmp_path, monkeypatch):
    (tmp_path / "cpuinfo").write_text("processor\t: 0\nmodel name\t: Some CPU @ 3 GHz\n")
    monkeypatch.setattr("curator_assets.engine.machine._CPUINFO", tmp_path / "cpuinfo")
    monkeypatch.setattr("curator_assets.engine.machine._NVIDIA", tmp_path / "gpus")
    monkeypatch.setattr("os.sched_getaffinity", lambda _: {0})
    assert machine("cpu", None) == "cpu, Some CPU @ 3 GHz, 1 core"
    for i in range(2):
        (tmp_path / f"gpus/{i}").mkdir(parents=True)
        (tmp_path / f"gpus/{i}/information").write_text("Model: \t\t Some GPU\nIRQ: 1\n")
    assert machine("cuda", None) == "cuda, Some GPU, 2 GPUs, Some CPU @ 3 GHz, 1 core"
    assert machine("cpu", None) == "cpu, Some CPU @ 3 GHz, 1 core"
