"""What computes nothing with torch, FAISS, DALI or open_clip does not wait for their import."""

import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

from curator_assets.engine.encoder import _has_cuda_driver
from curator_assets.storage.ledger import Ledger
from curator_assets.storage.store import Store

HEAVY = ("torch", "faiss", "nvidia", "open_clip", "timm", "torchvision")

REFRESH = textwrap.dedent(f"""
    import sys
    from curator_assets.cli.main import curate
    for command in sys.argv[1:]:
        try:
            curate([command], prog_name="curate")
        except SystemExit as ended:
            assert not ended.code
    print("imported", sorted(name for name in {HEAVY} if name in sys.modules))
""")


def imported(folder: Path, *commands: str) -> str:
    """What commands import in a process of their own; its last line."""
    done = subprocess.run(
        [sys.executable, "-c", REFRESH, *commands],
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=200,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout.splitlines()[-1]


def test_a_plan_and_a_refresh_in_which_nothing_is_made_import_none(project):
    project.settings  # noqa: B018  # writes the file
    assert imported(project.folder, "plan", "refresh") == "imported []"


@pytest.mark.parametrize(
    "stages",
    [
        ["image_embeddings"],  # which a worker computes
        [
            "filter_scores",  # without heads
            "duplicate_groups",
            "duplicate_ids",
            "deduplicated_shards",
            "curation_report",
        ],
    ],
)
def test_stages_without_products_of_tensors_import_none(project, stages):
    ledger, settings = Ledger(Store(project.settings.output)), project.settings
    assert settings.model.device in {"auto", "cpu"}
    made = [(s, p) for s in stages for p in [*ledger.read_all(s), None] if ledger.read(s, p)]
    assert {stage for stage, _ in made} == {*stages}
    for stage, partition in made:
        ledger.remove(stage, partition)
    found = imported(project.folder, "refresh")
    assert all(Ledger(Store(settings.output)).read(*one) for one in made)
    if stages == ["image_embeddings"] and _has_cuda_driver():
        pytest.skip("torch counts the GPUs")
    assert found == "imported []"
