"""`curate`: every command, its options and its help; what it does is imported when it is called."""

from __future__ import annotations

from pathlib import Path

import click

from curator_assets.cli.exit_status import Command, Group


@click.group(cls=Group, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="curator-assets")
def curate() -> None:
    """Curate image datasets: tar shards in, embeddings, scores, duplicates and curated tars out.

    A project is the folder of a curator.yaml; commands run in that folder, or on the settings that
    CURATOR_CONFIG names. Exit status: 0 all is made, 1 partitions failed, 2 you must mend
    something, 3 removals are held back.
    """


@curate.command(cls=Command)
@click.argument("folder", type=click.Path(path_type=Path, file_okay=False), default=".")
@click.option("--source", help="Where the tars lie: a folder, or a URI such as s3://bucket/tars.")
@click.option(
    "--postgres",
    metavar="URL",
    help="Keep the Dagster instance in this database, which several hosts may share.",
)
def init(folder: Path, source: str | None, postgres: str | None) -> None:
    """Make FOLDER (this one) a project: commented settings, and what Dagster's commands need.

    What is there already is left as it is.
    """
    from curator_assets.cli.console import say
    from curator_assets.cli.init import init as write

    written = write(folder, source, postgres)
    if written.new:
        say(f"written to {folder}: {', '.join(written.new)}")
    if written.left:
        say(f"left as they are: {', '.join(written.left)}")
    if not written.is_ignored:
        say("add .env to .gitignore: it holds the URL of the database, with its password")
    if written.missing_source:
        say(
            f"no tars yet at the source {written.missing_source}: set it in curator.yaml, or "
            "make shards of images there with `curate pack PHOTOS`"
        )
    go = "" if folder.resolve() == Path.cwd() else f"cd {folder}, "
    say(f"next: {go}look at curator.yaml, then `curate check`")


@curate.command(cls=Command)
@click.pass_context
def check(ctx: click.Context) -> None:
    """Look whether a refresh can be done, before anything is embedded.

    Source readable, output writable, model and heads load and fit each other, disk and memory.
    A model or head that is to be fetched is fetched now.
    """
    from curator_assets.cli.check import check as look

    ctx.exit(look())


@curate.command(cls=Command)
@click.option(
    "--exact", is_flag=True, help="Read and hash the tars to be embedded, to know what they hold."
)
def plan(exact: bool) -> None:
    """Say what a refresh would make, why, and at what cost; nothing changes.

    Images to embed, pairs to compare, bytes and time are foretold as ranges: by the sizes of the
    tars, by what is stored, and by what refreshes took on this machine.
    """
    from curator_assets.cli.plan import show_plan

    show_plan(exact=exact)


@curate.command(cls=Command)
@click.argument("shards", nargs=-1, metavar="[SHARD | FIRST...LAST]…")
@click.option("--force", is_flag=True, help="Make it again from scratch, fresh or not.")
@click.option(
    "--allow-removals", is_flag=True, help="Let go of all shards whose tars are gone, however many."
)
@click.option(
    "--ray",
    metavar="auto|local|ADDRESS",
    help="Spread the work over a Ray cluster, instead of what cluster.ray says.",
)
@click.pass_context
def refresh(
    ctx: click.Context,
    shards: tuple[str, ...],
    force: bool,
    allow_removals: bool,
    ray: str | None,
) -> None:
    """Make exactly what is stale or missing: new tars, changed settings, lost files.

    Run it as often as you like; a killed one goes on where it was. SHARDs limit what is made shard
    by shard; what is made from all shards follows if none of its inputs is stale, and is named as
    waiting otherwise.
    """
    from curator_assets.cli.refresh import refresh as make

    ctx.exit(make(shards, force=force, allow_removals=allow_removals, ray=ray))


@curate.command(cls=Command)
@click.option("--empty", is_flag=True, help="Erase all of it.")
@click.option("--yes", is_flag=True, help="Do not ask.")
def trash(empty: bool, yes: bool) -> None:
    """List what was let go of with its tar: what, how much, since when.

    A tar that comes back with the same content takes it back, and nothing is embedded again.
    """
    from curator_assets.cli.trash import empty_asked, list_trash

    if yes and not empty:
        raise click.UsageError("--yes is for --empty")
    if list_trash() and empty:
        empty_asked(ask=not yes)


@curate.command(cls=Command)
@click.option("--repair", is_flag=True, help="Make what is damaged again, and verify once more.")
@click.pass_context
def verify(ctx: click.Context, repair: bool) -> None:
    """Read all that is stored, and name what is not as it was recorded.

    Every file is compared with the hash in its ledger entry: what holds other bytes, is missing, or
    is vouched for by no entry is named. Exit status 1 if anything is damaged or missing.
    """
    from curator_assets.cli.verify import check_stored

    ctx.exit(check_stored(repair=repair))


@curate.command(cls=Command)
@click.argument("image_id")
@click.option(
    "--pictures",
    type=click.Path(path_type=Path, dir_okay=False),
    metavar="PATH.jpg",
    help="Write the image beside its kept one, or beside those that it stands for.",
)
def explain(image_id: str, pictures: Path | None) -> None:
    """Say what became of an image, and why: from its tar to its verdict.

    IMAGE_ID is <shard>/<key>, as in any of the tables; of a tar, or a file like one, that is not
    taken, its path below the source says why it is not.
    """
    from curator_assets.cli.explain import print_explanation

    if pictures and pictures.suffix.lower() not in {".jpg", ".jpeg"}:
        raise click.UsageError(f"--pictures writes a JPEG; expected a .jpg, got {pictures}")
    print_explanation(image_id, pictures)


@curate.command(cls=Command)
@click.argument(
    "settings",
    nargs=-1,
    required=True,
    type=click.Path(path_type=Path),
    metavar="[FIRST.yaml] SECOND.yaml",
)
@click.option(
    "--csv",
    type=click.Path(path_type=Path, dir_okay=False),
    help="Write every image that changes to this file.",
)
def compare(settings: tuple[Path, ...], csv: Path | None) -> None:
    """Say which images other settings would keep or drop, from what is stored.

    Filters, eps, keep, best_by, rule and seed of SECOND are compared with those of FIRST, or with
    the settings in force. Nothing is written under output.
    """
    from curator_assets.cli.compare import print_comparison

    if csv and csv.suffix.lower() != ".csv":
        raise click.UsageError(f"--csv writes a table; expected a .csv, got {csv}")
    if len(settings) > 2:
        raise click.UsageError(f"expected one or two files, got {len(settings)}")
    print_comparison(settings, csv)


@curate.command(cls=Command)
def calibrate() -> None:
    """Alter copies of some of your images, and show which eps finds them.

    Re-encoded, resized, cropped, recoloured and flipped copies are embedded; their cosines stand
    beside those of random pairs.
    """
    from curator_assets.cli.calibrate import calibrate as measure

    measure()


@curate.command(cls=Command)
@click.option(
    "--port",
    type=click.IntRange(1, 65535),
    default=3000,
    show_default=True,
    help="Of the page, on this machine.",
)
def ui(port: int) -> None:
    """Open Dagster's UI on this project, with the sensor that sees tars come and go."""
    from curator_assets.cli.ui import serve

    serve(port)


@curate.command(cls=Command)
@click.argument("folder", type=click.Path(path_type=Path, file_okay=False), default="curate-demo")
@click.pass_context
def demo(ctx: click.Context, folder: Path) -> None:
    """Curate sample tars with planted cases in FOLDER, and say what was found of them.

    FOLDER (curate-demo) gets its own settings; it must be new, empty or an earlier demo's.
    """
    from curator_assets.cli.demo import demo as show

    ctx.exit(show(folder))


@curate.command(cls=Command)
@click.argument("folder", type=click.Path(path_type=Path, exists=True, file_okay=False))
@click.option(
    "--into",
    type=click.Path(path_type=Path, file_okay=False),
    help="Folder of the shards; the source of the settings in force if it is left out.",
)
@click.option(
    "--samples",
    type=click.IntRange(min=1),
    default=10_000,
    show_default=True,
    help="Of a shard, at most; a shard of 1 GB is full as well.",
)
def pack(folder: Path, into: Path | None, samples: int) -> None:
    """Pack image files, or Parquet with image bytes, into tar shards.

    Every image file below FOLDER becomes a sample, with the files of its name beside it (a.jpg,
    a.txt, a.json); of each Parquet file every row, its text beside the image and the rest as JSON.
    Bytes are not touched. Run it again to go on after a kill, or to pack what was added.
    """
    from curator_assets.cli.pack import pack as write

    write(folder, into, samples)
