import unicodedata

import pytest

from curator_assets.report.pictures.captions import (
    MAX_SHORT,
    MAX_WHOLE,
    short_caption,
    whole_caption,
)


@pytest.mark.parametrize("text", ["", "a dog", "x" * MAX_SHORT, "犬" * MAX_SHORT])
def test_what_is_short_is_whole(text):
    assert short_caption(text) == whole_caption(text) == text
    assert short_caption(" two\n lines\t") == "two lines"


@pytest.mark.parametrize(
    "sign",
    ["e\u0301", "किं", "👩‍👩‍👧", "👍🏽", "🇩🇪", "❤️", "ก็", "犬", "ab ", "a"],
)
def test_a_cut_leaves_signs_and_words_whole(sign):
    for lead in range(4):
        text = "." * lead + sign * 200
        cut = short_caption(text)
        head = cut.removesuffix("…")
        assert cut != head and len(cut) <= MAX_SHORT and text.startswith(head)
        rest = head[lead:]
        assert rest == (sign * (len(rest) // len(sign) + 1))[: len(rest)]
        assert len(rest) % len(sign) == 0 or sign == "ab "
        assert not unicodedata.category(text[len(head)]).startswith("M")


def test_a_cut_is_at_a_word_where_words_are_parted():
    words = "лошадь ест траву " * 20
    head = short_caption(words).removesuffix("…")
    assert words.startswith(f"{head} ")
    assert len(head) > MAX_SHORT // 2
    assert len(short_caption(f"a {'b' * 300}")) == MAX_SHORT


def test_a_caption_of_great_length_says_how_long_it_is():
    text = "long " * 1000
    assert whole_caption(text).endswith("… (5,000 characters in all)")
    assert len(whole_caption(text)) < MAX_WHOLE + 40
