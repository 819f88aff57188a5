from hypothesis import given
from hypothesis import strategies as st

from curator_assets.control_characters import escaped, escaped_lines
from curator_assets.errors import named

ANY = st.text(st.characters() | st.characters(categories=["Cc", "Cf", "Cs"]))


@given(ANY)
def test_no_character_acts_and_every_encoding_takes_them(text):
    shown = escaped(text)
    shown.encode()
    assert len(shown.splitlines()) <= 1
    assert all(ord(c) >= 0x20 and not 0x7F <= ord(c) < 0xA0 for c in shown)
    assert not set(shown) & set("\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069")
    assert escaped(shown) == shown
    assert escaped(escaped_lines(text)) == shown


def test_what_is_shown():
    assert (
        escaped("a\x1b[31mb\n\u202ec\udc80 é 猫 [red]") == r"a\x1b[31mb\n\u202ec\udc80 é 猫 [red]"
    )
    assert escaped_lines("a\x07\n\tb") == "a\\x07\n\tb"
    assert named(["a\x1b", "b"]) == r"a\x1b, b"
