import re
import subprocess
import sys

import dagster as dg
import pytest

from curator_assets.definitions import defs

ASSETS = {
    "tar_shards",
    "image_embeddings",
    "filter_scores",
    "centroids",
    "cluster_assignments",
    "near_duplicate_pairs",
    "duplicate_groups",
    "duplicate_ids",
    "deduplicated_shards",
    "curation_report",
    "eps_calibration",
}


@pytest.fixture
def settings_file(tmp_path, monkeypatch):
    path = tmp_path / "curator.yaml"
    path.write_text("source: tars\noutput: out\n")
    monkeypatch.setenv("CURATOR_CONFIG", str(path))
    monkeypatch.delenv("DAGSTER_HOME", raising=False)
    return path


def test_definitions_load_and_hold_exactly_these_assets(settings_file):
    loaded = defs()
    dg.Definitions.validate_loadable(loaded)
    graph = loaded.resolve_asset_graph()
    assert {key.to_user_string() for key in graph.get_all_asset_keys()} == ASSETS


def test_every_asset_says_what_it_is(settings_file):
    graph = defs().resolve_asset_graph()
    for key in graph.get_all_asset_keys():
        asset = graph.get(key)
        assert asset.description, key
        assert asset.group_name != "default", key
        assert asset.kinds, key
        table = asset.metadata.get("dagster/column_schema")
        columns = table.columns if table else []
        assert all(column.description for column in columns), key
        for text in (asset.description, *(column.description for column in columns)):
            assert "<" not in re.sub("`.*?`", "", text), text  # the UI would take it for HTML


def test_columns_of_heads_are_described(settings_file):
    settings_file.write_text(
        "source: tars\noutput: out\n"
        "heads: {beauty: {weights: beauty.pt, embedding_model: ViT-L-14}}\n"
        "filters: [{score: beauty, min: 1}]\n"
    )
    graph = defs().resolve_asset_graph()
    for name in ("filter_scores", "deduplicated_shards"):
        table = graph.get(dg.AssetKey(name)).metadata["dagster/column_schema"]
        columns = {column.name: column.description for column in table.columns}
        assert columns["beauty"] == "score of this head", name


def test_settings_enter_just_the_code_versions_of_what_depends_on_them(settings_file):
    def versions(extra: str) -> dict[str, str | None]:
        settings_file.write_text("source: tars\noutput: out\n" + extra)
        graph = defs().resolve_asset_graph()
        return {asset: graph.get(dg.AssetKey(asset)).code_version for asset in ASSETS}

    def changed(extra: str) -> set[str]:
        before, after = versions(""), versions(extra)
        return {asset for asset in ASSETS if before[asset] != after[asset]} - {
            "curation_report",
            "eps_calibration",
        }

    assert changed("duplicates: {eps: 0.02}") == {"duplicate_groups"}
    assert changed("duplicates: {keep: random}") == {"duplicate_groups"}
    assert changed("filters: [{score: width, min: 9}]") == {
        "duplicate_groups",
        "deduplicated_shards",
    }
    assert changed("duplicates: {max_eps: 0.1}") == {
        "cluster_assignments",
        "near_duplicate_pairs",
    }
    assert changed("model: {name: ViT-B-32}") == {"image_embeddings", "centroids"}
    assert changed("model: {batch_size: 8}") == set()


def test_loading_needs_no_gpu_library(settings_file):
    script = (
        "import sys; import curator_assets.definitions as d; d.defs();"
        "print([m for m in ('torch', 'nvidia.dali', 'open_clip', 'faiss') if m in sys.modules])"
    )
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", script], capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == "[]"
