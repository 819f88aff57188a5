"""Parts of objects that were never completed: killed processes leave them, unseen and paid for.

S3 keeps them until somebody aborts the upload. Google Cloud Storage and Azure drop theirs after a
week by themselves.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

from curator_assets.storage.bucket.errors import named_errors

MAX_AGE = timedelta(days=1)
"""What is younger may still be uploaded to."""


def abort_old_uploads(fs: Any, root: str) -> int:
    """Abort the multipart uploads below a root that are older than a day; how many.

    Args:
        fs: an fsspec filesystem; of another store than S3 nothing is to be done.
        root: a path on it, all of which is this project's.

    Raises:
        PermissionError: they may not be listed, or not be aborted.
        OSError: the store failed.
    """
    if not hasattr(fs, "call_s3"):
        return 0
    bucket, key, _ = fs.split_path(root)
    prefix = f"{key.rstrip('/')}/" if key else ""
    n_aborted, newest = 0, datetime.now(UTC) - MAX_AGE
    with named_errors(fs.unstrip_protocol(root)):
        for upload in _unfinished(fs, bucket, prefix):
            if upload["Initiated"] < newest and upload["Key"].startswith(prefix):
                found = {"Key": upload["Key"], "UploadId": upload["UploadId"]}
                fs.call_s3("abort_multipart_upload", Bucket=bucket, **found)
                n_aborted += 1
    return n_aborted


def _unfinished(fs: Any, bucket: str, prefix: str) -> Iterator[Any]:
    start = dict[str, str]()
    while True:
        page = fs.call_s3("list_multipart_uploads", Bucket=bucket, Prefix=prefix, **start)
        yield from page.get("Uploads", ())
        if not page.get("IsTruncated"):
            return
        start = {"KeyMarker": page["NextKeyMarker"], "UploadIdMarker": page["NextUploadIdMarker"]}
