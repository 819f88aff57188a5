from pathlib import Path

import pytest
from pydantic import BaseModel

from curator_assets.settings import FilterRule, HeadSettings, Settings
from curator_assets.settings_file import SettingsError, load_settings


def load(tmp_path: Path, text: str):
    path = tmp_path / "curator.yaml"
    path.write_text("source: tars\noutput: out\n" + text)
    return load_settings(path)


def test_defaults_and_paths_relative_to_the_file(tmp_path):
    settings = load(tmp_path, "")
    assert (settings.model.name, settings.model.pretrained) == ("ViT-L-14", "openai")
    assert settings.source == str(tmp_path / "tars")
    assert settings.duplicates.eps == 0.03
    assert load(tmp_path, "decode: {max_pixels: 9}").decode.max_pixels == 9


def test_uris_are_left_alone(tmp_path):
    path = tmp_path / "c.yaml"
    path.write_text("source: s3://bucket/tars\noutput: s3://bucket/out\n")
    assert load_settings(path).source == "s3://bucket/tars"


def test_a_checkpoint_path_is_relative_to_the_file_and_a_tag_is_not_a_path(tmp_path):
    (tmp_path / "w.pt").write_bytes(b"")
    assert load(tmp_path, "model: {pretrained: w.pt}").model.pretrained == str(tmp_path / "w.pt")
    assert load(tmp_path, "model: {pretrained: laion2b}").model.pretrained == "laion2b"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("duplicate: {}", "duplicate: unknown key"),
        ("duplicates: {epsilon: 1}", "duplicates.epsilon: unknown key"),
        ("duplicates: {eps: lots}", "duplicates.eps: .* got 'lots'"),
        ("duplicates: {eps: 0.06}", "eps 0.06 is above max_eps 0.05"),
        ("duplicates: {best_by: [width]}", "best_by is for keep: best"),
        ("filters: [{score: width}]", "expected min, max or both"),
        ("filters: [{score: width, min: 2, max: 1}]", "min 2.0 is above max 1.0"),
        ("filters: [{score: nsfw, max: 0.5}]", "no column 'nsfw' will be stored .* width"),
        ("duplicates: {keep: best, best_by: [nsfw]}", "duplicates.best_by: no column 'nsfw'"),
        ("heads: {width: {weights: a.pt, embedding_model: ViT-L-14}}", "is an image statistic"),
        ("heads: {beauty: {weights: a.pt}}", "no public head gives 'beauty'"),
        ("heads: {a: {weights: a.pt, embedding_model: ViT-B-32}}", "the model is 'ViT-L-14'"),
        ("heads: {a: {weights: fetch, embedding_model: ViT-L-14}}", "can't be fetched"),
        ("heads: {a: {weights: a.pt, head: nsfw_vit_b_32}}", "embeddings of 'ViT-B-32'"),
        ("heads: {a: {weights: a.pt, head: other}}", "no public head 'other'"),
        ("heads: {aesthetic: {weights: a.pt, relu: true}}", "add embedding_model"),
        ("model: {name: efficientnet_lite0}\nheads: {nsfw: {weights: fetch}}", "heads.nsfw: no"),
        ("[", "not valid YAML"),
        ("filters: []\nfilters: []", "line 4, column 1: the key 'filters' stands there twice"),
        ("filters: [{score: width, min: .nan}]", "filters.0.min: .*finite"),
        ("clusters: {seed: 99999999999}", "clusters.seed: "),
        ("filters: 3", "filters: .*list"),
        ("decode: {max_pixels: 1000000000}", "raise it to 28268435456 or lower max_pixels"),
    ],
)
def test_what_cannot_be_done_is_refused_with_its_place(tmp_path, text, message):
    with pytest.raises(SettingsError, match=message):
        load(tmp_path, text)


def test_output_inside_source_is_refused(tmp_path):
    path = tmp_path / "c.yaml"
    path.write_text("source: data\noutput: data/out\n")
    with pytest.raises(SettingsError, match="lies inside source"):
        load_settings(path)


@pytest.mark.parametrize("source", ["out/tars", "out", "out/shards"])
def test_source_inside_output_is_refused(tmp_path, source):
    path = tmp_path / "c.yaml"
    path.write_text(f"source: {source}\noutput: {tmp_path}/out\n")
    with pytest.raises(SettingsError, match="lies inside"):
        load_settings(path)


@pytest.mark.parametrize(
    ("source", "output"),
    [
        ("file://{here}/data", "data/out"),
        ("data", "FILE:{here}/other/../data/out"),
        ("link", "data/out"),
        ("data/", "local://{here}/link/out/"),
        ("file://{here}//data", "file://{here}/data/../link"),
        ("file://data", "data/out"),
        ("s3://bucket/data/", "s3://bucket/data/out"),
        ("s3a://bucket/data", "S3://bucket/data///"),
        ("gs://bucket", "gcs://bucket/out"),
    ],
)
@pytest.mark.parametrize("inside", ["output", "source"])
def test_locations_are_told_apart_by_where_they_are_not_by_how_they_are_written(
    tmp_path, source, output, inside
):
    (tmp_path / "data").mkdir()
    (tmp_path / "link").symlink_to("data")
    names = ("source", "output") if inside == "output" else ("output", "source")
    path = tmp_path / "c.yaml"
    lines = (
        f"{name}: '{location.format(here=tmp_path)}'\n"
        for name, location in zip(names, (source, output), strict=True)
    )
    path.write_text("".join(lines))
    with pytest.raises(SettingsError, match="lies inside"):
        load_settings(path)


@pytest.mark.parametrize(
    ("source", "output"),
    [
        ("data", "data-out"),
        ("file://{here}/data", "file://{here}/data-out"),
        ("s3://bucket/data", "s3://bucket/data-out"),
        ("s3://bucket/data", "gs://bucket/data/out"),
        ("s3://bucket/a/../data", "s3://bucket/data"),
    ],
)
def test_locations_beside_each_other_are_taken(tmp_path, source, output):
    path = tmp_path / "c.yaml"
    path.write_text(f"source: {source}\noutput: {output}\n".format(here=tmp_path))
    load_settings(path)


def test_a_uri_of_this_machine_is_its_path(tmp_path):
    path = tmp_path / "c.yaml"
    path.write_text(f"source: file://{tmp_path}/a/../tars/\noutput: file://{tmp_path}/out\n")
    settings = load_settings(path)
    assert (settings.source, settings.output) == (f"{tmp_path}/tars", f"{tmp_path}/out")


def test_a_missing_file_names_the_ways_out(tmp_path, monkeypatch):
    with pytest.raises(SettingsError, match=r"no settings file at .*none\.yaml$"):
        load_settings(tmp_path / "none.yaml")
    monkeypatch.setenv("CURATOR_CONFIG", str(tmp_path / "none.yaml"))
    with pytest.raises(SettingsError, match="`curate init FOLDER`, or name another in CURATOR_CON"):
        load_settings()


def test_the_public_head_is_chosen_by_score_and_model(tmp_path):
    settings = load(tmp_path, "heads: {aesthetic: {weights: fetch}, nsfw: {weights: n.pth}}")
    assert settings.known_head("aesthetic") == "aesthetic_mlp_vit_l_14"
    assert settings.known_head("nsfw") == "nsfw_vit_l_14"
    assert settings.heads["nsfw"].weights == str(tmp_path / "n.pth")
    linear = "heads: {aesthetic: {weights: fetch, head: aesthetic_linear_vit_l_14}}"
    assert load(tmp_path, linear).known_head("aesthetic") == "aesthetic_linear_vit_l_14"
    small = "model: {name: ViT-B-32}\nheads: {nsfw: {weights: fetch}}"
    assert load(tmp_path, small).known_head("nsfw") == "nsfw_vit_b_32"


def test_a_filter_may_name_statistics_and_scores(tmp_path):
    settings = load(
        tmp_path,
        "heads: {nsfw: {weights: fetch}}\n"
        "filters: [{score: nsfw, max: 0.5}, {score: width, min: 10, max: 90}]",
    )
    assert [rule.reason for rule in settings.filters] == ["nsfw > 0.5", "width < 10 or width > 90"]


def test_every_setting_is_documented_with_its_default():
    text = (Path(__file__).parents[1] / "docs" / "settings.md").read_text()

    def rows(model: type[BaseModel], prefix: str = ""):
        for name, field in model.model_fields.items():
            inner = field.annotation
            if isinstance(inner, type) and issubclass(inner, BaseModel):
                yield from rows(inner, f"{name}.")
            elif name not in {"heads", "filters"}:
                default = "required" if field.is_required() else f"`{field.get_default()!r}`"
                yield f"| `{prefix}{name}` | {default} | {field.description}"

    expected = [
        *rows(Settings),
        *rows(HeadSettings, "heads.<score>."),
        *rows(FilterRule, "filters[]."),
    ]
    assert len(expected) > 30
    assert [row for row in expected if row not in text] == []
