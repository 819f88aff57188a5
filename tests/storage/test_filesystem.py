"""What a location means, and what is said where it can't be used."""

import sys

import fsspec
import pytest

from curator_assets.storage.filesystem import (
    CredentialsInLocationError,
    UnknownLocationError,
    opened,
)


@pytest.mark.parametrize(
    ("protocol", "package", "extra"),
    [("s3", "s3fs", "s3"), ("gs", "gcsfs", "gcs"), ("az", "adlfs", "azure")],
)
def test_a_missing_package_is_told_with_the_extra_that_brings_it(
    protocol, package, extra, monkeypatch
):
    monkeypatch.setitem(sys.modules, package, None)
    monkeypatch.delitem(
        sys.modules[fsspec.get_filesystem_class.__module__]._registry, protocol, False
    )
    with pytest.raises(UnknownLocationError) as told:
        opened(f"{protocol}://bucket/x")
    assert str(told.value).endswith(f"; pip install 'curator-assets[{extra}]'")
    assert f"'{protocol}://bucket/x' can't be used" in str(told.value)


def test_a_store_that_can_not_be_begun_with_is_told_with_its_credentials(monkeypatch):
    def refuse(*_, **__):
        raise ValueError("Must provide either a connection_string or account_name")

    monkeypatch.setattr("fsspec.core.url_to_fs", refuse)
    with pytest.raises(UnknownLocationError, match="Must provide") as told:
        opened("az://container/x")
    assert "AZURE_STORAGE_CONNECTION_STRING" in str(told.value)
    assert "pip install" not in str(told.value)


@pytest.mark.parametrize(
    "location",
    [
        "s3://key:secret-of-it@bucket/x",
        "s3://key:se/cr@et-of-it@bucket/x",
        "gs://key:secret-of-it@bucket/x",
        "simplecache::s3://key:secret-of-it@bucket/x",
    ],
)
def test_a_key_in_a_uri_is_refused_and_not_shown(location):
    with pytest.raises(CredentialsInLocationError) as told:
        opened(location)
    assert "secret-of-it" not in str(told.value)
    assert "et-of-it" not in str(told.value)
    assert "in the environment" in str(told.value)


@pytest.mark.parametrize("location", ["s3://bucket/a:b@c", "s3://bucket/a@b"])
def test_an_at_sign_in_a_name_is_a_name(location):
    assert opened(location)[1] == location.removeprefix("s3://")
