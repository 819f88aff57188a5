"""Whatever a store's client library raises, as an OSError that names the file.

s3fs raises botocore's and aiohttp's errors beside its own, gcsfs and adlfs those of Google and
Azure. Which library raised is told by its words and codes alone: none of them is imported here.
"""

from __future__ import annotations

import errno
import re
from collections.abc import Iterator
from contextlib import contextmanager

from curator_assets.errors import UserError
from curator_assets.masking import masked


class StoreRefusedError(UserError, OSError):
    """The store answers nobody who asks like this: a wrong key, no key, no bucket, a wrong clock.

    Asking again does not help, and it is the same for all files.
    """

    def __reduce__(self) -> tuple[type[StoreRefusedError], tuple[object, ...]]:
        """Workers hand it on."""
        return StoreRefusedError, self.args


_WRONG_KEY = {
    "401",
    "InvalidAccessKeyId",
    "SignatureDoesNotMatch",
    "InvalidToken",
    "ExpiredToken",
    "ExpiredTokenException",
    "TokenRefreshRequired",
    "AuthenticationFailed",
    "InvalidAuthenticationInfo",
}
_NO_KEY = {
    "NoCredentialsError",
    "PartialCredentialsError",
    "CredentialRetrievalError",
    "DefaultCredentialsError",
    "RefreshError",
    "CredentialUnavailableError",
    "ProfileNotFound",
}
_NO_BUCKET = {"NoSuchBucket", "ContainerNotFound", "InvalidBucketName"}
_WRONG_CLOCK = {"RequestTimeTooSkewed", "RequestExpired"}
_FULL = {"QuotaExceeded", "InsufficientStorage", "XMinioStorageFull", "507"}
_FULL_WORDS = ("no space left", "no free volumes", "no writable volumes", "storage full")
_DENIED = {
    "AccessDenied",
    "Forbidden",
    "403",
    "AuthorizationPermissionMismatch",
    "AllAccessDisabled",
    "AuthorizationFailure",
    "InsufficientAccountPermissions",
}
_FORBIDDEN = "Forbidden: "  # so begins what gcsfs says, in an error of no kind of its own
_UNKNOWN_CALL = {"NotImplemented", "501"}
_GCS_BUCKET = re.compile("(https?://.*/)?b/[^/]+/o")
_ABSENT = {"NoSuchKey", "BlobNotFound", "ResourceNotFoundError", "404", "NoSuchVersion"}
_BEYOND_END = {"InvalidRange", "416"}
_TAKEN = {"PreconditionFailed", "412", "ConditionNotMet", "BlobAlreadyExists"}
_FAILED_WITHIN = {"InternalError", "500"}
_PASSING = {
    "BadDigest",
    "IncompleteBody",
    "InternalError",
    "OperationAborted",
    "RequestTimeout",
    "ServiceUnavailable",
    "SlowDown",
    "XAmzContentSHA256Mismatch",
    "NoSuchUpload",
}

_CREDENTIALS = {
    "s3": "AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY in the environment, a profile, or a role of "
    "the machine",
    "gs": "GOOGLE_APPLICATION_CREDENTIALS in the environment, or a service account of the machine",
    "az": "AZURE_STORAGE_CONNECTION_STRING in the environment, or AZURE_STORAGE_ACCOUNT_NAME and "
    "a key or an identity",
}
_OTHER_NAMES = {"s3a": "s3", "gcs": "gs", "abfs": "az", "abfss": "az", "adl": "az"}


@contextmanager
def named_errors(url: str) -> Iterator[None]:
    """Whatever is raised inside, which is to be one call of a client library, names a file.

    Args:
        url: of the file, to be shown.

    Raises:
        FileNotFoundError: there is none.
        PermissionError: the store does not allow it.
        StoreRefusedError: it allows nothing, or there is no such bucket.
        OSError: it failed; it may succeed when it is tried again, unless its `errno` tells.
    """
    try:
        yield
    except UserError:  # a guard's, and a refusal that was told already
        raise
    except Exception as error:  # each library raises its own
        raise as_os_error(error, url) from error


def as_os_error(error: BaseException, url: str) -> OSError:
    """The OSError that stands for what a client library raised about a file."""
    codes, words = _codes(error), _words(error)
    if codes & _NO_KEY:
        return _refused(url, f"no credentials were found ({words})", f"set {credentials_of(url)}")
    if codes & _WRONG_KEY:
        return _refused(
            url,
            f"it does not know these credentials ({words})",
            f"mend {credentials_of(url)}, whichever is in use",
        )
    if codes & _NO_BUCKET or _is_gcs_bucket(error, url):
        return _refused(
            url, f"there is no bucket of that name ({words})", "make it, or mend the URI"
        )
    if codes & _WRONG_CLOCK:
        return _refused(
            url, f"its clock and this machine's differ ({words})", "set this machine's by NTP"
        )
    if codes & _FULL or any(word in words.lower() for word in _FULL_WORDS):
        return OSError(errno.ENOSPC, f"the store is full ({words})", url)
    if codes & _DENIED or isinstance(error, PermissionError) or words.startswith(_FORBIDDEN):
        return PermissionError(
            errno.EACCES,
            f"the store does not allow it ({words}): these credentials need the rights to list and "
            "read the source, and to list, read, write and delete in the output",
            url,
        )
    if codes & _ABSENT or (isinstance(error, FileNotFoundError) and not codes & _PASSING):
        return FileNotFoundError(errno.ENOENT, "there is no such file", url)
    if isinstance(error, FileExistsError):
        return FileExistsError(errno.EEXIST, "it is there already", url)
    if codes & _UNKNOWN_CALL:
        return OSError(errno.ENOTSUP, f"the store can't do that ({words})", url)
    if codes & _FAILED_WITHIN:
        words += "; so may also answer one whose disk is full: its own log tells"
    lasts = isinstance(error, OSError) and error.errno and not codes & _PASSING
    return OSError(error.errno if lasts else errno.EIO, words, url)  # type: ignore[attr-defined]


def is_beyond_end(error: BaseException) -> bool:
    """Whether a range was asked for that begins at the end of an object, or after it."""
    return bool(_codes(error) & _BEYOND_END)


def is_taken(error: BaseException) -> bool:
    """Whether a store refused to create an object because there is one of that name.

    s3fs may tell it by an OSError like others, gcsfs and adlfs by a FileExistsError.
    """
    return isinstance(error, FileExistsError) or bool(_codes(error) & _TAKEN)


def credentials_of(url: str) -> str:
    """Where a store's credentials are looked for."""
    return _CREDENTIALS.get(store_of(url), "the credentials in the environment")


def store_of(url: str) -> str:
    """Which store a URI leads to, by its usual protocol: `s3`, `gs`, `az`, or what it says."""
    protocol = url.partition("://")[0].lower()
    return _OTHER_NAMES.get(protocol, protocol)


def _is_gcs_bucket(error: BaseException, url: str) -> bool:
    """Whether gcsfs missed a bucket itself, of which it tells nothing but the path of its call."""
    is_missing = isinstance(error, FileNotFoundError) and url.startswith(("gs://", "gcs://"))
    return is_missing and bool(_GCS_BUCKET.fullmatch(str(error)))


def _refused(url: str, why: str, what_to_do: str) -> StoreRefusedError:
    return StoreRefusedError(f"{url}: the store refuses: {why}; {what_to_do}")


def _codes(error: BaseException) -> set[str]:
    """What a client library calls an error and those it came from: codes, statuses, classes."""
    found, chain, at = set[str](), list[BaseException](), error
    while at is not None and at not in chain:
        chain.append(at)
        found |= {kind.__name__ for kind in type(at).__mro__}
        response = getattr(at, "response", None)
        told = response.get("Error", {}).get("Code") if isinstance(response, dict) else None
        found |= {
            str(code)
            for code in (
                told,
                getattr(at, "error_code", None),
                getattr(at, "code", None),
                getattr(at, "status", None),
                getattr(at, "status_code", None),
            )
            if isinstance(code, str | int)
        }
        at = at.__cause__  # type: ignore[assignment]  # not its context: that may be another file's
    return found - {"object"}


def _words(error: BaseException) -> str:
    """What it says, in a line and without secrets; at least its class."""
    text = getattr(error, "strerror", None) or str(error)
    return masked(" ".join(text.split()).rstrip(".")) or type(error).__name__
