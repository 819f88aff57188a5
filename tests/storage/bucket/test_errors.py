"""What client libraries raise, and what becomes of it; of those not at hand by stand-ins."""

import errno
import pickle

import aiohttp
import pytest
from botocore.exceptions import ClientError, EndpointConnectionError, NoCredentialsError
from s3fs.errors import translate_boto_error

from curator_assets.errors import UserError
from curator_assets.storage.bucket.errors import (
    StoreRefusedError,
    as_os_error,
    is_beyond_end,
    is_taken,
    named_errors,
)

URL = "s3://bucket/out/a"


def s3(code, status=403, message="the server's words", **more):
    """As s3fs raises what S3 answered."""
    answer = {"Error": {"Code": code, "Message": message} | more}
    answer["ResponseMetadata"] = {"HTTPStatusCode": status}
    return translate_boto_error(ClientError(answer, "PutObject"))


def stand_in(name, base=Exception, **attributes):
    """An error of a library that is told by its class's name and what it carries."""
    error = type(name, (base,), {})("words of the library")
    for attribute, value in attributes.items():
        setattr(error, attribute, value)
    return error


REFUSED = {
    "wrong secret": (s3("SignatureDoesNotMatch"), "does not know these credentials"),
    "unknown key": (s3("InvalidAccessKeyId"), "does not know these credentials"),
    "expired": (s3("ExpiredToken", 400), "does not know these credentials"),
    "no key": (NoCredentialsError(), "no credentials were found"),
    "no bucket": (s3("NoSuchBucket", 404), "no bucket of that name"),
    "clock": (s3("RequestTimeTooSkewed"), "clock"),
    "azure key": (
        stand_in("ClientAuthenticationError", error_code="AuthenticationFailed"),
        "does not know these credentials",
    ),
    "azure container": (
        stand_in("ResourceNotFoundError", error_code="ContainerNotFound"),
        "no bucket of that name",
    ),
    "google without": (stand_in("DefaultCredentialsError"), "no credentials were found"),
    "google key": (stand_in("HttpError", code=401), "does not know these credentials"),
}


@pytest.mark.parametrize(("error", "expected"), REFUSED.values(), ids=list(REFUSED))
def test_what_holds_for_all_files_is_for_the_user_to_mend(error, expected):
    found = as_os_error(error, URL)
    assert isinstance(found, StoreRefusedError)
    assert isinstance(found, UserError)
    text = str(found)
    assert text.startswith(f"{URL}: the store refuses: ")
    assert expected in text
    assert "\n" not in text
    assert str(pickle.loads(pickle.dumps(found))) == text


@pytest.mark.parametrize(
    ("protocol", "variable"),
    [
        ("s3", "AWS_ACCESS_KEY_ID"),
        ("gs", "GOOGLE_APPLICATION_CREDENTIALS"),
        ("abfs", "AZURE_STORAGE_CONNECTION_STRING"),
        ("other", "the credentials"),
    ],
)
def test_a_missing_key_is_told_with_where_it_is_looked_for(protocol, variable):
    assert variable in str(as_os_error(NoCredentialsError(), f"{protocol}://b/a"))


def test_gcsfs_tells_a_missing_bucket_by_the_path_of_its_call_only():
    missing = FileNotFoundError("https://storage.googleapis.com/storage/v1/b/images/o")
    assert isinstance(as_os_error(missing, "gs://images/a"), StoreRefusedError)
    for other in ("images/a", "https://storage.googleapis.com/storage/v1/b/images/o/a"):
        assert as_os_error(FileNotFoundError(other), "gs://images/a").errno == errno.ENOENT
    assert as_os_error(FileNotFoundError("b/x/o"), "s3://b/x/o").errno == errno.ENOENT


OTHERS = {
    "denied": (s3("AccessDenied"), errno.EACCES, "the rights to list"),
    "denied at a HEAD": (s3("403"), errno.EACCES, "the rights to list"),
    "denied by google": (
        OSError("Forbidden: https://storage.googleapis.com/upload\nno storage.objects.create"),
        errno.EACCES,
        "no storage.objects.create",
    ),
    "denied by azure": (
        stand_in("HttpResponseError", error_code="AuthorizationPermissionMismatch"),
        errno.EACCES,
        "the rights to list",
    ),
    "absent": (s3("NoSuchKey", 404), errno.ENOENT, "no such file"),
    "absent at a HEAD": (s3("404", 404), errno.ENOENT, "no such file"),
    "full": (s3("QuotaExceeded", 403), errno.ENOSPC, "the store is full"),
    "full, 507": (s3("InsufficientStorage", 507), errno.ENOSPC, "the store is full"),
    "full by its words": (
        s3("InternalError", 500, "write: no space left on device"),
        errno.ENOSPC,
        "the store is full",
    ),
    "unknown call": (s3("NotImplemented", 501), errno.ENOTSUP, "can't do that"),
    "failed within": (s3("InternalError", 500), errno.EIO, "disk is full"),
    "busy": (s3("SlowDown", 503), errno.EIO, "the server's words"),
    "another writer at once": (s3("ConditionalRequestConflict", 409), errno.EIO, "words"),
    "gone away": (
        EndpointConnectionError(endpoint_url="http://127.0.0.1:1"),
        errno.EIO,
        "Could not connect",
    ),
    "cut off": (aiohttp.ClientPayloadError("Response payload is not completed"), errno.EIO, "not"),
    "says nothing": (TimeoutError(), errno.EIO, "TimeoutError"),
}


@pytest.mark.parametrize(("error", "number", "expected"), OTHERS.values(), ids=list(OTHERS))
def test_all_else_is_an_os_error_of_its_kind_that_names_the_file(error, number, expected):
    found = as_os_error(error, URL)
    assert (found.errno, found.filename) == (number, URL)
    assert expected in found.strerror
    assert not isinstance(found, UserError)


def test_secrets_in_what_a_library_says_are_masked():
    error = s3("AccessDenied", message="no https://k:secret@host/x?X-Amz-Signature=abc")
    assert "secret" not in str(as_os_error(error, URL))
    assert "abc" not in str(as_os_error(error, URL))


def test_the_error_of_a_block_is_replaced_and_what_is_told_already_stays():
    told = StoreRefusedError("told")
    for raised, expected in ((s3("NoSuchKey", 404), FileNotFoundError), (told, StoreRefusedError)):
        with pytest.raises(expected), named_errors(URL):
            raise raised


@pytest.mark.parametrize(
    ("error", "taken"),
    [
        (s3("PreconditionFailed", 412), True),
        (s3("PreconditionFailed", 412, Condition="If-None-Match"), True),
        (s3("412", 412), True),
        (FileExistsError("gcsfs's and adlfs's"), True),
        (s3("ConditionalRequestConflict", 409), False),
        (s3("NotImplemented", 501), False),
        (s3("AccessDenied"), False),
    ],
)
def test_only_a_clear_answer_says_that_an_object_is_there(error, taken):
    assert is_taken(error) is taken


def test_a_range_beyond_the_end_is_told_apart():
    assert is_beyond_end(s3("InvalidRange", 416))
    assert not is_beyond_end(s3("NoSuchKey", 404))
