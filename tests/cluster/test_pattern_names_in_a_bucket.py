"""Names that are patterns are names like others in a bucket of a server, too."""

from pathlib import Path

from object_server import ObjectServer
from pattern_names import Place, assert_same, local, states, tars
from s3_client import client_of


def bucket(folder: Path, server: ObjectServer) -> Place:
    client, below = server.client(), folder.name
    return Place(
        f"s3://images/{below}/tars",
        f"s3://images/{below}/out",
        lambda name, data: client.put_object(Bucket="images", Key=f"{below}/{name}", Body=data),
        lambda name: client.delete_object(Bucket="images", Key=f"{below}/{name}"),
        lambda name: server.contents("images", f"{below}/{name}/"),
    )


def test_a_bucket_holds_what_a_folder_holds(object_store, tmp_path_factory):
    named, there, here = (tmp_path_factory.mktemp(name) for name in ("tars", "there", "here"))
    tars_of = tars(named)
    with client_of(object_store.environment()):
        found = states(bucket(there, object_store), tars_of, there)
    assert_same(found, states(local(here), tars_of, here))
