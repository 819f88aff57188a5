"""`curate pack`: image files, or Parquet with image bytes, into tar shards."""

from __future__ import annotations

from pathlib import Path

from curator_assets.cli.console import say
from curator_assets.errors import named
from curator_assets.packing.image_files import find
from curator_assets.packing.new_shards import pack as packed_shards
from curator_assets.packing.packable import PackError
from curator_assets.settings_file import load_settings, settings_file


def pack(folder: Path, into: Path | None, n_samples: int) -> None:
    """Pack what lies below a folder, and say what is written and what belongs to no image.

    Raises:
        PackError: it can't be packed as it is.
        SettingsError: `into` is not given, and no settings name a source.
    """
    folder, into = folder.resolve(), _target(into)
    if folder == into:
        raise PackError(f"the shards would lie among the images in {folder}; name another --into")
    found = find(folder, but_not=into)
    if not found.images and not found.parquet:
        raise PackError(
            f"{folder} holds no image file and no Parquet; expected files such as .jpg, .png or "
            ".webp, at any depth below it, or .parquet"
        )
    n = 0
    for shard in packed_shards(folder, found, into, n_samples=n_samples):
        n += shard.n_samples
        say(f"{shard.path}  {shard.n_samples:,} samples, {shard.n_bytes / 1e6:,.1f} MB")
    say(f"{n:,} samples packed" if n else "nothing to pack: all of it is in shards already")
    if found.strays:
        say(f"{len(found.strays):,} files belong to no image, left out: {named(found.strays)}")


def _target(into: Path | None) -> Path:
    if into is not None:
        return into.resolve()
    if not settings_file().exists():
        raise PackError(
            "no folder for the shards; name one with --into, or run this in a project, and they "
            "go to its source"
        )
    source = load_settings().source
    if "://" in source:
        raise PackError(
            f"the source of the settings is {source}; shards are packed into a folder of this "
            "machine: name one with --into, and copy them there"
        )
    return Path(source)
