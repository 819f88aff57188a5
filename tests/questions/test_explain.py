"""One image's path through the pipeline, told from what is stored."""

from io import BytesIO

import pytest
from PIL import Image
from tar_files import write_members

from curator_assets.cli.explain import lines, print_explanation
from curator_assets.demo.photos import crops
from curator_assets.demo.samples import _jpeg, read_truth
from curator_assets.questions.explanation import explain
from curator_assets.questions.sample_lookup import UnknownImageError
from curator_assets.questions.stored_work import stored_work


@pytest.fixture
def work(project):
    return stored_work(project.settings)


def told(work, image_id) -> str:
    return "\n".join(lines(explain(work, image_id), work))


def planted(project, case) -> str:
    return next(p.id for p in read_truth(project.folder / "truth.json") if p.case == case)


def test_every_verdict_and_group_is_told_as_it_is_stored(project, work):
    rows = project.table("shards/**/*.parquet").to_dicts()
    groups = project.table("duplicates/groups.parquet")
    for row in rows:
        found = explain(work, row["image_id"])
        assert found.curated == {k: v for k, v in row.items() if k in found.curated}
        assert found.curated["verdict"] == row["verdict"]
        stood_for = groups.filter(kept_id=row["image_id"])["id"].to_list()
        assert sorted(member["id"] for member in found.stands_for) == sorted(stood_for)
        assert not found.stale


def test_a_duplicate_names_its_kept_one_the_cosine_and_where_it_lies(project, work):
    image_id = planted(project, "re_encoded")
    text = told(work, image_id)
    row = project.table("duplicates/groups.parquet").filter(id=image_id).to_dicts()[0]
    assert f"duplicate of {row['kept_id']} at cosine {row['cosine']:.4f}" in text
    assert f"{row['cosine']:.4f}  {row['kept_id']}  kept" in text
    assert f"sample {row['position']}, member {image_id.rpartition('/')[2]}.jpg" in text
    kept = told(work, row["kept_id"])
    assert "kept, stands for 1" in kept
    assert f"{row['cosine']:.4f}  {image_id}  duplicate" in kept


def test_all_stored_neighbours_are_found(project, work):
    pairs = project.table("duplicates/pairs/*.parquet")
    assert len(pairs)
    ids = project.table("embeddings/**/*.parquet").select("image_id", "shard", "position")
    names = {(row["shard"], row["position"]): row["image_id"] for row in ids.to_dicts()}
    for pair in pairs.to_dicts():
        a, b = (names[pair[f"shard_{side}"], pair[f"position_{side}"]] for side in "ab")
        for one, other in ((a, b), (b, a)):
            nearest = explain(work, one).neighbours.nearest
            assert (other, pair["cosine"]) in [(n.image_id, n.cosine) for n in nearest]
            assert [n.cosine for n in nearest] == sorted((n.cosine for n in nearest), reverse=True)


def test_an_unreadable_image_tells_why(project, work):
    text = told(work, planted(project, "truncated"))
    assert "image       unreadable: truncated" in text
    assert "verdict     unreadable: truncated" in text


def test_rules_and_what_is_stale_are_told_with_the_settings_in_force(project):
    try:
        project.changes = {
            "filters": [{"score": "width", "min": 10_000}, {"score": "sharpness", "min": 0.001}],
            "duplicates": {"eps": 0.0001},
        }
        text = told(stored_work(project.settings), planted(project, "re_encoded"))
    finally:
        project.changes = {}
    assert "fails: 10000 <= width" in text
    assert "passes: 0.001 <= sharpness" in text
    assert "below: farther than eps 0.0001" in text
    assert "duplicate_groups: changed: settings or code" in text
    assert "deduplicated_shards: changed: settings or code" in text


def test_an_unknown_image_is_refused_with_what_comes_close(project, work):
    image_id = planted(project, "re_encoded")
    with pytest.raises(UnknownImageError, match=f"did you mean .*{image_id}"):
        explain(work, image_id + "x")
    with pytest.raises(UnknownImageError, match=r"no shard of 'a/00007/x' is known.*a/00001"):
        explain(work, "a/00007/x")
    with pytest.raises(UnknownImageError, match="an image id is <shard>/<key>"):
        explain(work, "x")


def test_the_pictures_show_an_image_beside_its_kept_one(project, monkeypatch, tmp_path, capsys):
    assert project.settings
    monkeypatch.setenv("CURATOR_CONFIG", str(project.folder / "curator.yaml"))
    path = tmp_path / "pair.jpg"
    print_explanation(planted(project, "re_encoded"), path)
    assert f"pictures    {path}: " in capsys.readouterr().out
    assert Image.open(BytesIO(path.read_bytes())).size == (2 * 324 + 4, 324 + 4)
    with pytest.raises(UnknownImageError, match="holds no image"):
        print_explanation("a/00000/nothing", None)


def test_copies_of_one_embedding_are_neighbours_of_each_other_and_keys_may_have_slashes(
    pipeline,
):
    photo = _jpeg(crops()[5].image)
    write_members(pipeline.folder / "tars/a.tar", [(f"b/{i}.jpg", photo) for i in range(3)])
    write_members(pipeline.folder / "tars/a/b.tar", [("9.jpg", photo)])
    pipeline.run_all()
    work = stored_work(pipeline.settings)
    for image_id in ("a/b/0", "a/b/1", "a/b/2", "a/b/9"):
        found = explain(work, image_id)
        others = {"a/b/0", "a/b/1", "a/b/2", "a/b/9"} - {image_id}
        assert {n.image_id for n in found.neighbours.nearest} == others
        assert {n.cosine for n in found.neighbours.nearest} == {1.0}
    assert explain(work, "a/b/9").sample.address == ("a/b", 0)
    write_members(pipeline.folder / "tars/new.tar", [("x.jpg", photo)])
    with pytest.raises(
        UnknownImageError, match="'new' was never embedded; make it: curate refresh"
    ):
        explain(work, "new/x")
    write_members(pipeline.folder / "tars/a.tar", [("b/0.jpg", photo)])
    assert "touched or replaced" in explain(work, "a/b/0").stale["tar_shards"]
