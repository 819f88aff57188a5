"""This process as a client of an S3 server."""

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from unittest.mock import patch

from s3fs import S3FileSystem


@contextmanager
def client_of(environment: Mapping[str, str]) -> Iterator[None]:
    """fsspec goes to that server, and nowhere else, until the block ends."""
    others = {name: value for name, value in os.environ.items() if not name.startswith("AWS_")}
    S3FileSystem.clear_instance_cache()
    with patch.dict(os.environ, others | dict(environment), clear=True):
        yield
    S3FileSystem.clear_instance_cache()
