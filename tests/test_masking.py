import traceback

import pytest

from curator_assets import masking
from curator_assets.errors import UserError
from curator_assets.masking import (
    MaskedError,
    masked,
    masked_error,
    masked_errors,
    masked_location,
    masked_values,
    remember_secrets,
)


@pytest.fixture(autouse=True)
def _nothing_known(monkeypatch):
    monkeypatch.setattr(masking, "_known", set())


@pytest.mark.parametrize(
    ("location", "shown"),
    [
        ("s3://key:secret@bucket/x", "s3://***@bucket/x"),
        ("s3://AKIA:ab/c+d/e@bucket/x", "s3://***@bucket/x"),
        ("s3://key:p@ss@bucket/x", "s3://***@bucket/x"),
        ("sftp://user@host:22/x", "sftp://***@host:22/x"),
        ("sftp://user:pw@[::1]/x", "sftp://***@[::1]/x"),
        ("simplecache::s3://key:secret@bucket/x", "simplecache::s3://***@bucket/x"),
        ("zip://a.tar::ftp://u:p@h/b.zip", "zip://a.tar::ftp://***@h/b.zip"),
        ("https://h/x?token=T&X-Amz-Signature=S", "https://h/x?token=***&X-Amz-Signature=***"),
        ("https://h/x?T", "https://h/x?***"),
        ("https://h:8080/a@b/c", "https://h:8080/a@b/c"),
        ("memory://x?sig=S", "memory://x?sig=***"),
        ("s3://bucket/what?/a@b#1/x y", "s3://bucket/what?/a@b#1/x y"),
        ("abfs://container@account.dfs.core.windows.net/x",) * 2,
        ("/home/me@work/tars",) * 2,
        ("",) * 2,
    ],
)
def test_what_a_location_shows(location, shown):
    assert masked_location(location) == shown
    assert masked_location(shown) == shown


def test_uris_in_a_text_are_masked_and_the_rest_stands():
    text = "can't open 's3://k:s@b/x', nor <https://h/y?sig=1>: a key k and a secret s"
    shown = "can't open 's3://***@b/x', nor <https://h/y?sig=***>: a key k and a secret s"
    assert masked(text) == shown
    assert masked_values({"a": [text, 1, None]}) == {"a": [shown, 1, None]}


@pytest.mark.parametrize("form", ["pa%2Fss%27word", "pa/ss'word", "key:pa/ss'word@bucket/x"])
def test_secrets_of_a_location_in_use_are_found_alone_however_they_are_written(form):
    remember_secrets("simplecache::s3://key:pa%2Fss%27word@bucket/x")
    assert "ss" not in masked(f"no access for {form}; {form!r}").replace("access", "")
    assert masked("the key is passed") == "the key is passed"


def test_what_stands_before_a_host_or_in_a_query_is_found_alone_too():
    remember_secrets("sftp://me@host/x")
    remember_secrets("https://h/x?token=T0K3NT0K3N&page=1")
    remember_secrets("s3://b/x?version=20260101&x")
    told = "no /me@host/x of me with T0K3NT0K3N on page 1 of 20260101"
    assert masked(told) == "no /***/x of me with *** on page 1 of 20260101"


def test_an_error_is_masked_with_all_that_it_was_raised_from():
    class LibraryError(Exception):
        def __str__(self) -> str:
            return f"GET https://h/x?token={secret}"

    secret = "".join(["T0", "KEN"])  # or it would stand in the lines of the traceback

    def fail():
        try:
            try:
                raise OSError(5, "I/O error", f"s3://k:{secret}@b/x")
            except OSError as error:
                error.add_note(f"of s3://k:{secret}@b")
                raise LibraryError("x") from error
        except LibraryError:
            raise ValueError(  # noqa: B904
                f"sftp://u:{secret}@h is no folder"
            )

    with (
        pytest.raises(ValueError, match=r"sftp://\*\*\*@h is no folder") as caught,
        masked_errors(),
    ):
        fail()
    told = "".join(traceback.format_exception(caught.value))
    assert secret not in told
    assert told.count("***") == 4
    assert "in fail" in told


def test_an_error_whose_text_cannot_be_changed_is_replaced():
    class LibraryError(Exception):
        def __str__(self) -> str:
            return "GET https://h/x?token=T"

    error = masked_error(LibraryError())
    assert isinstance(error, MaskedError)
    assert str(error) == "LibraryError: GET https://h/x?token=***"
    with pytest.raises(MaskedError), masked_errors():
        raise LibraryError
    plain = KeyError("a")
    assert masked_error(plain) is plain


def test_errors_for_people_are_masked_from_the_start():
    error = UserError("no folder s3://k:s@b")
    assert str(error) == "no folder s3://***@b"
    assert "k:s" not in repr(error)
