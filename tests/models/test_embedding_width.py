"""The width of a model's embeddings is told without loading it."""

import json
import subprocess
import sys

import pytest

from curator_assets.models.embedding_width import embedding_width


@pytest.mark.parametrize(
    ("name", "width"),
    [("ViT-L-14", 768), ("ViT-B-32", 512), ("efficientnet_lite0", 1280), ("no such model", None)],
)
def test_the_width_of_a_model_by_its_name(name, width):
    assert embedding_width(name) == width


def test_the_width_of_a_model_in_a_folder(tmp_path):
    config = tmp_path / "open_clip_config.json"
    assert embedding_width(f"local-dir:{tmp_path}") is None
    config.write_text(json.dumps({"model_cfg": {"embed_dim": 32}}))
    assert embedding_width(f"local-dir:{tmp_path}") == 32
    config.write_text("[]")
    assert embedding_width(f"local-dir:{tmp_path}") is None


def test_nothing_is_imported_for_it():
    script = (
        "import sys; from curator_assets.models.embedding_width import embedding_width\n"
        "embedding_width('ViT-L-14'); print('torch' in sys.modules)"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == "False"
