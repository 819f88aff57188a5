from curator_assets.report.page.settings_table import setting_rows
from curator_assets.settings import Settings


def rows_of(**settings):
    model = Settings.model_validate({"source": "s3://key:secret@tars", "output": "out", **settings})
    return {row.key: row for row in setting_rows(model.model_dump(mode="json"), Settings)}


def test_each_setting_has_its_value_and_its_meaning():
    rows = rows_of()
    assert rows["source"].value == "s3://***@tars"
    eps = Settings.model_fields["duplicates"].annotation.model_fields["eps"]
    assert (rows["duplicates.eps"].value, rows["duplicates.eps"].about) == ("0.03", eps.description)
    assert (rows["marker"].value, rows["heads"].value) == ("none", "none")
    assert rows["clusters.retrain"].value == "true"
    assert all(row.about for key, row in rows.items() if key != "filters")
    assert [key for key, row in rows.items() if row.is_chosen] == ["source", "output"]


def test_what_differs_from_its_default_says_so_also_in_lists_and_mappings():
    rows = rows_of(
        duplicates={"eps": 0.02, "keep": "best", "best_by": ["width", "n_bytes"]},
        heads={"beauty": {"weights": "w.pt", "embedding_model": "ViT-L-14"}},
        filters=[{"score": "beauty", "min": 0.5}, {"score": "width", "min": 9}],
    )
    chosen = {key: (row.value, row.default) for key, row in rows.items() if row.is_chosen}
    assert chosen == {
        "source": ("s3://***@tars", None),
        "output": ("out", None),
        "heads.beauty.weights": ("w.pt", None),
        "filters[0].score": ("beauty", None),
        "filters[1].score": ("width", None),
        "duplicates.eps": ("0.02", "0.03"),
        "duplicates.keep": ("best", "first"),
        "duplicates.best_by": ('["width", "n_bytes"]', "none"),
        "heads.beauty.embedding_model": ("ViT-L-14", "none"),
        "filters[0].min": ("0.5", "none"),
        "filters[1].min": ("9.0", "none"),
    }
