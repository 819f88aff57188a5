"""What a URI holds of user names, passwords and tokens is shown as `***`, wherever it is shown."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from typing import Any
from urllib.parse import quote, unquote

MASK = "***"

_URI = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*://[^\s'\"<>`]*")
_VALUE = re.compile(r"(?P<name>[^=?&#;]*)(?P<sign>=?)(?P<value>[^?&#;]*)(?P<end>[?&#;]|$)")
_SOUNDS_SECRET = re.compile("auth|code|cred|key|pass|pw|sas|secret|sig|token", re.IGNORECASE)
_WEB = {"http", "https"}
_NO_USER = {"abfs", "abfss", "github", "wasb", "wasbs"}  # a container or a repository comes first

_MIN_PASSWORD, _MIN_OTHER = 4, 8
"""Characters from which on a secret is looked for outside URIs too: shorter ones are words."""

_known = set[str]()


class MaskedError(RuntimeError):
    """Stands for an error whose text can't be changed, and held a secret."""


def masked_location(location: str) -> str:
    """A folder or a URI, which may be a chain of them, without its secrets."""
    return "::".join(_masked_uri(uri) for uri in location.split("::"))


def masked(text: str) -> str:
    """A text without the secrets of URIs in it, and without those of the locations in use."""
    if "://" in text:
        text = _URI.sub(lambda found: masked_location(found[0]), text)
    return _pattern(frozenset(_known)).sub(MASK, text) if _known else text


def masked_values(value: Any) -> Any:
    """A JSON value whose strings are masked."""
    match value:
        case str():
            return masked(value)
        case dict():
            return {name: masked_values(inner) for name, inner in value.items()}
        case list() | tuple():
            return [masked_values(inner) for inner in value]
        case _:
            return value


def masked_error(error: BaseException) -> BaseException:
    """An error without secrets in its text, its notes and those of what it was raised from.

    It is the same one with other words, or where those can't be changed one in its place.
    """
    return _masked_error(error, {})


@contextmanager
def masked_errors() -> Iterator[None]:
    """Whatever is raised inside is masked."""
    try:
        yield
    except Exception as error:
        if (other := masked_error(error)) is not error:
            raise other from other.__cause__
        raise


def remember_secrets(location: str) -> None:
    """Have `masked` find the secrets of a location also where they stand alone.

    A filesystem may tell of `key:secret@bucket/x`, or of a password, without any `scheme://`.
    """
    for uri in location.split("::"):
        scheme, user, place, query = _parts(uri)
        name, colon, password = user.partition(":")
        if user:
            _known.update(_forms(user if colon else user + place.partition("/")[0]))
        if len(password) >= _MIN_PASSWORD:
            _known.update(_forms(password))
        values = [
            found["value"] or found["name"]
            for found in _VALUE.finditer(query)
            if _is_secret(found, scheme)
        ]
        for secret in (name, *values):
            if len(secret) >= _MIN_OTHER:
                _known.update(_forms(secret))


def _forms(secret: str) -> Iterator[str]:
    """A secret as it may be written: in a URI, plain, and in the `repr` of a string."""
    plain = unquote(secret)
    yield from (secret, plain, quote(plain, safe=""), repr(plain)[1:-1])


@cache
def _pattern(secrets: frozenset[str]) -> re.Pattern[str]:
    longest_first = sorted(secrets, key=len, reverse=True)
    return re.compile(rf"(?<!\w)(?:{'|'.join(map(re.escape, longest_first))})(?!\w)")


def _parts(uri: str) -> tuple[str, str, str, str]:
    """`scheme://`, user and password, place, query with its sign; in a path all is place."""
    scheme, sign, rest = uri.partition("://")
    if not sign:
        return "", "", uri, ""
    user, scheme = "", scheme.lower()
    if scheme not in _NO_USER:
        host = rest.partition("/")[0]
        port = host.partition(":")[2]
        if "@" in host:
            user = host.rpartition("@")[0]
        elif port and not port.isdigit() and "@" in rest:  # a slash in the password
            user = rest.rpartition("@")[0]
    place = rest[len(user) :]
    start = re.search("[?#]", place)
    cut = start.start() if start else len(place)
    return f"{uri.partition('://')[0]}://", user, place[:cut], place[cut:]


def _masked_uri(uri: str) -> str:
    scheme, user, place, query = _parts(uri)

    def value(found: re.Match[str]) -> str:
        name, sign, _, end = found.groups()
        if not _is_secret(found, scheme):
            return found[0]
        return f"{name}={MASK}{end}" if sign else f"{MASK}{end}"

    query = query[:1] + _VALUE.sub(value, query[1:]) if query else ""
    return f"{scheme}{MASK if user else ''}{place}{query}"


def _is_secret(found: re.Match[str], scheme: str) -> bool:
    """Whether a part of a query may be one: on the web any, elsewhere by its name."""
    is_web = scheme.lower().removesuffix("://") in _WEB
    if not found["sign"]:  # `?TOKEN`
        return is_web and bool(found["name"])
    return bool(found["value"]) and (is_web or bool(_SOUNDS_SECRET.search(found["name"])))


def _masked_error(
    error: BaseException, done: dict[int, tuple[BaseException, BaseException]]
) -> BaseException:
    if id(error) in done:
        return done[id(error)][1]
    done[id(error)] = error, error
    error.args = tuple(masked(part) if isinstance(part, str) else part for part in error.args)
    if isinstance(error, OSError):
        for name in ("strerror", "filename", "filename2"):
            if isinstance(part := getattr(error, name), str):
                setattr(error, name, masked(part))
    if hasattr(error, "__notes__"):
        error.__notes__ = [masked(str(note)) for note in error.__notes__]
    is_suppressed = error.__suppress_context__
    for inner in getattr(error, "exceptions", ()):
        _masked_error(inner, done)
    if error.__cause__ is not None:
        error.__cause__ = _masked_error(error.__cause__, done)
    if error.__context__ is not None:
        error.__context__ = _masked_error(error.__context__, done)
    error.__suppress_context__ = is_suppressed
    if masked(str(error)) == str(error):
        return error
    other = MaskedError(f"{type(error).__name__}: {masked(str(error))}")
    other.__cause__, other.__context__ = error.__cause__, error.__context__
    other.__suppress_context__ = is_suppressed
    done[id(error)] = error, other.with_traceback(error.__traceback__)
    return other
