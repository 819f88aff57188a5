import pytest

from curator_assets.report.pictures.transform_guess import guess


@pytest.mark.parametrize(
    ("changed", "expected"),
    [
        ({}, "identical bytes"),
        ({"content_hash": "b"}, "re-encoded or edited"),
        ({"content_hash": "b", "width": 200, "height": 100}, "smaller"),
        ({"content_hash": "b", "width": 800, "height": 400}, "larger"),
        ({"content_hash": "b", "format": "png"}, "other format: png"),
        ({"content_hash": "b", "width": 300, "format": "png"},
         "cropped or other aspect, other format: png"),
        ({"content_hash": "b", "width": 200, "height": 400}, "turned"),
    ],
)  # fmt: skip
def test_what_was_done_to_a_copy_is_guessed(changed, expected):
    kept = {"content_hash": "a", "width": 400, "height": 200, "format": "jpeg", "n_bytes": 9}
    assert guess(kept, kept | changed) == expected
