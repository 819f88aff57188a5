"""What other tests rest on: their clients are in the network that their servers are in."""

import pytest
from object_server import ObjectServer, object_server
from own_network import NoRightError, own_network
from s3_client import client_of
from s3fs import S3FileSystem


def test_a_client_reaches_the_servers_of_its_network(object_store: ObjectServer, tmp_path):
    def buckets(server: ObjectServer) -> list[str]:
        with client_of(server.environment()):
            return S3FileSystem().ls("")

    before = buckets(object_store)
    try:
        with own_network(), object_server(tmp_path) as server:
            server.client().create_bucket(Bucket="inside")
            assert "inside" in buckets(server)
    except NoRightError as error:
        pytest.skip(str(error))
    assert buckets(object_store) == before and "inside" not in before
