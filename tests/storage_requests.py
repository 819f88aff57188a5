"""Requests of S3 as a proxy sees them, and what it may do to them."""

from __future__ import annotations

from dataclasses import dataclass
from urllib.parse import parse_qs, unquote, urlsplit


@dataclass
class Request:
    """One request as it was seen.

    Attributes:
        kind: what S3 calls it: GetObject, GetObject (range), ListObjects, PutObject, UploadPart ...
        bucket: its bucket.
        key: its object; "" of a request to a bucket.
        n_bytes_in: of its body.
        n_bytes_out: of the body of the answer.
        status: of the answer; 0 before there is one.
    """

    kind: str
    bucket: str
    key: str
    n_bytes_in: int = 0
    n_bytes_out: int = 0
    status: int = 0


@dataclass(frozen=True)
class Reply:
    """An error that is answered in the server's place.

    Attributes:
        status: of HTTP.
        code: of S3.
        message: for a person.
    """

    status: int
    code: str
    message: str

    def encoded(self, *, has_body: bool) -> bytes:
        """The whole answer."""
        body = f"<Error><Code>{self.code}</Code><Message>{self.message}</Message></Error>".encode()
        head = f"HTTP/1.1 {self.status} {self.code}\r\nContent-Type: application/xml\r\n"
        head += f"Content-Length: {len(body)}\r\n\r\n"
        return head.encode() + body * has_body


SLOW_DOWN = Reply(503, "SlowDown", "Please reduce your request rate.")
SKEWED = Reply(403, "RequestTimeTooSkewed", "The request's time is too far from the server's.")
DENIED = Reply(403, "AccessDenied", "Access Denied.")
EXPIRED = Reply(400, "ExpiredToken", "The provided token has expired.")
FULL = Reply(507, "InsufficientStorage", "No space left on device.")
INTERNAL = Reply(500, "InternalError", "We encountered an internal error. Please try again.")


@dataclass(frozen=True)
class Cut:
    """The connection is closed in the middle of an answer's body.

    Attributes:
        after_bytes: of the body.
    """

    after_bytes: int


def headers_of(head: bytes) -> dict[str, str]:
    """Headers by name in lower case."""
    lines = head.decode("latin-1").split("\r\n")[1:]
    pairs = (line.partition(":") for line in lines if line)
    return {name.lower(): value.strip() for name, _, value in pairs}


def request_of(head: bytes) -> Request:
    """What a request is, by its first line and headers."""
    method, target, _ = head.split(b"\r\n", 1)[0].decode("latin-1").split(" ", 2)
    url = urlsplit(target)
    bucket, _, key = unquote(url.path.lstrip("/")).partition("/")
    query = parse_qs(url.query, keep_blank_values=True)
    return Request(_kind(method, key, query, headers_of(head)), bucket, key)


def _kind(method: str, key: str, query: dict[str, list[str]], headers: dict[str, str]) -> str:
    if not key:
        if "delete" in query:
            return "DeleteObjects"
        if "uploads" in query:
            return "ListMultipartUploads"
        return {"GET": "ListObjects", "HEAD": "HeadBucket"}.get(method, f"{method} bucket")
    if "uploads" in query:
        return "CreateMultipartUpload"
    if "uploadId" in query:
        return {
            "PUT": "UploadPart",
            "POST": "CompleteMultipartUpload",
            "DELETE": "AbortMultipartUpload",
        }.get(method, "ListParts")
    if method == "GET":
        return "GetObject (range)" if "range" in headers else "GetObject"
    if method == "PUT":
        return "CopyObject" if "x-amz-copy-source" in headers else "PutObject"
    return {"HEAD": "HeadObject", "DELETE": "DeleteObject"}.get(method, method)
