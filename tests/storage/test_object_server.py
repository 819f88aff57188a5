"""What the other tests take for granted of the server and of the proxy before it."""

import hashlib
import threading
from collections import Counter
from http.client import HTTPConnection

import pytest
from botocore.exceptions import ClientError
from object_server import READER, Identity, ObjectServer
from storage_proxy import storage_proxy
from storage_requests import DENIED, SLOW_DOWN, Cut


def told(call) -> str:
    """The code of the error that a call ends with."""
    with pytest.raises(ClientError) as error:
        call()
    return error.value.response["Error"]["Code"]


def test_of_many_who_create_an_object_one_does(object_store: ObjectServer):
    answers = Counter[int]()
    barrier = threading.Barrier(8)

    def create(client) -> None:
        barrier.wait()
        try:
            answer = client.put_object(Bucket="images", Key="race", Body=b"", IfNoneMatch="*")
        except ClientError as error:
            answer = error.response
        answers[answer["ResponseMetadata"]["HTTPStatusCode"]] += 1

    threads = [threading.Thread(target=create, args=[object_store.client()]) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert answers == {200: 1, 412: 7}


def test_it_refuses_what_s3_refuses(object_store: ObjectServer):
    owner, reader = object_store.client(), object_store.client(READER)
    stranger = object_store.client(Identity("owner", "guessed", ()))
    owner.put_object(Bucket="images", Key="x", Body=b"x")
    assert told(lambda: owner.put_object(Bucket="no-bucket", Key="x")) == "NoSuchBucket"
    assert told(lambda: reader.put_object(Bucket="images", Key="x")) == "AccessDenied"
    assert told(lambda: stranger.get_object(Bucket="images", Key="x")) == "SignatureDoesNotMatch"
    assert reader.get_object(Bucket="images", Key="x")["Body"].read() == b"x"


def test_what_is_copied_in_and_what_is_left_of_an_upload_is_seen(tmp_path, object_store):
    (tmp_path / "[a]").mkdir()
    (tmp_path / "[a]/b c%").write_bytes(b"123")
    object_store.copy_in(tmp_path, "images", "copied")
    assert object_store.contents("images", "copied/") == {"[a]/b c%": b"123"}
    (found,) = object_store.client().list_objects_v2(Bucket="images", Prefix="copied/")["Contents"]
    assert found["ETag"].strip('"') == hashlib.md5(b"123").hexdigest()
    upload = object_store.client().create_multipart_upload(Bucket="images", Key="big")
    assert "big" in object_store.unfinished_uploads("images")
    target = {name: upload[name] for name in ("Bucket", "Key", "UploadId")}
    object_store.client().abort_multipart_upload(**target)
    assert "big" not in object_store.unfinished_uploads("images")


def test_the_proxy_counts_and_plays_faults(object_store: ObjectServer, monkeypatch):
    with storage_proxy(object_store.port) as proxy:
        monkeypatch.setattr(ObjectServer, "endpoint", proxy.endpoint)
        client = object_store.client()
        client.put_object(Bucket="images", Key="counted", Body=b"12345")
        client.get_object(Bucket="images", Key="counted", Range="bytes=1-2")["Body"].read()
        client.list_objects_v2(Bucket="images")
        assert proxy.counts() == {"PutObject": 1, "GetObject (range)": 1, "ListObjects": 1}
        assert [request.n_bytes_in for request in proxy.requests] == [5, 0, 0]
        assert [request.n_bytes_out for request in proxy.requests][:2] == [0, 2]

        def put() -> None:
            client.put_object(Bucket="images", Key="refused", Body=b"12345")

        with proxy.failing(SLOW_DOWN, times=1) as fault:
            assert told(put) == "SlowDown"
            put()
        assert fault.n_played == 1
        with proxy.failing(DENIED, lambda request: request.key == "counted"):
            put()
            assert told(lambda: client.delete_object(Bucket="images", Key="counted"))
        with proxy.failing(Cut(3)), pytest.raises(Exception, match="3 bytes read"):
            client.get_object(Bucket="images", Key="counted")["Body"].read()
        proxy.refuse()
        with pytest.raises(ConnectionRefusedError):
            HTTPConnection("127.0.0.1", proxy.port).connect()
        proxy.accept()
        put()
