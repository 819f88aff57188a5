"""`curate explain`: the path of one image through the pipeline, and why."""

from collections.abc import Iterator
from pathlib import Path

from curator_assets.cli.console import say
from curator_assets.control_characters import escaped_bytes
from curator_assets.engine.work import Work
from curator_assets.kernels.thumbnails import contact_sheet
from curator_assets.questions.explanation import Explanation, Neighbours, explain
from curator_assets.questions.sample_lookup import REFRESH, Sample
from curator_assets.questions.stored_work import stored_work
from curator_assets.settings import STATISTIC_COLUMNS, FilterRule, Settings
from curator_assets.settings_file import load_settings as load
from curator_assets.storage.shards.pixels import Address, read_images

PICTURE_SIDE = 320
N_PICTURED = 4
N_LISTED = 10


def print_explanation(image_id: str, pictures: Path | None) -> None:
    """Print the path of an image, and write it beside those of its group.

    Raises:
        SettingsError: the settings can't be read.
        UnknownImageError: there is none of this id.
        HeadUnavailableError: a head that the settings name is not there.
    """
    work = stored_work(load())
    with work.store.pictured():
        explanation = explain(work, escaped_bytes(image_id))
        for line in lines(explanation, work):
            say(line)
        if pictures:
            for line in _paragraph("pictures", write_pictures(pictures, explanation, work)):
                say(line)


def lines(explanation: Explanation, work: Work) -> Iterator[str]:
    """The explanation, to be printed."""
    sample, settings = explanation.sample, work.settings
    yield sample.image_id
    yield from _paragraph("tar", _tar(sample, work))
    yield from _paragraph("image", _image(sample))
    if settings.filters and not sample.row["error"]:
        yield from _paragraph("filters", *(_rule(sample, rule) for rule in settings.filters))
    if scores := [f"{name} {_number(value)}" for name, value in sample.scores.items()]:
        yield from _paragraph("scores", ", ".join(scores))
    if explanation.cell:
        yield from _paragraph("cell", _cell(explanation))
    if explanation.neighbours:
        yield from _paragraph("neighbours", *_neighbours(explanation.neighbours, settings))
    yield from _paragraph("verdict", *_verdict(explanation))
    yield from _paragraph("settings", _decisions(settings))
    if explanation.stale:
        stale = (f"{asset}: {why}" for asset, why in explanation.stale.items())
        yield from _paragraph("stale", *stale, f"what it tells may be old; mend it: {REFRESH}")
    else:
        yield from _paragraph("up to date", "yes, as far as this shard and the settings go")


def _paragraph(name: str, *rows: str) -> Iterator[str]:
    return (f"{name if i == 0 else '':<12}{row}" for i, row in enumerate(rows))


def _number(value: float | None) -> str:
    return "none" if value is None else f"{value:.6g}"


def _tar(sample: Sample, work: Work) -> str:
    member = f"{sample.row['key']}.{sample.row['ext']}" if sample.row["ext"] else "no image"
    return f"{work.tars.location}/{sample.shard}.tar, sample {sample.address[1]}, member {member}"


def _image(sample: Sample) -> str:
    row = sample.row
    if row["error"]:
        return f"unreadable: {row['error']}; {row['n_bytes']:,} bytes"
    described = f"{row['format']} {row['width']} x {row['height']}, {row['n_bytes']:,} bytes"
    others = [name for name in STATISTIC_COLUMNS if name not in {"width", "height", "n_bytes"}]
    return ", ".join([described, *(f"{name} {_number(row[name])}" for name in others)])


def _rule(sample: Sample, rule: FilterRule) -> str:
    passes = "passes" if sample.passes(rule) else "fails"
    low = f"{rule.min:g} <= " if rule.min is not None else ""
    high = f" <= {rule.max:g}" if rule.max is not None else ""
    return f"{passes}: {low}{rule.score} {_number(sample.value(rule.score))}{high}"


def _cell(explanation: Explanation) -> str:
    cell = explanation.cell
    assert cell
    visits = ", ".join(map(str, cell.visits[:N_LISTED])) + " …" * (len(cell.visits) > N_LISTED)
    return (
        f"{cell.number} of {cell.n_cells}, cosine {cell.centroid_cosine:.4f} to its centroid; "
        f"visits {visits or 'no other'}; pairs in {', '.join(cell.groups[:N_LISTED])}"
    )


def _neighbours(neighbours: Neighbours, settings: Settings) -> Iterator[str]:
    duplicates = settings.duplicates
    if neighbours.is_dense:
        yield "in a clump of near-duplicates, whose pairs are not listed; of the others:"
    if not neighbours.n:
        yield f"none within max_eps {duplicates.max_eps:g}"
    is_near = True
    for neighbour in neighbours.nearest:
        if is_near and neighbour.cosine < 1 - duplicates.eps:
            yield f"below: farther than eps {duplicates.eps:g}"
            is_near = False
        yield f"{neighbour.cosine:.4f}  {neighbour.image_id}  {neighbour.verdict}"
    if neighbours.n > len(neighbours.nearest):
        yield f"… and {neighbours.n - len(neighbours.nearest)} more"


def _verdict(explanation: Explanation) -> Iterator[str]:
    curated, stood_for = explanation.curated, explanation.stands_for
    if curated is None:
        yield f"none yet; make it: {REFRESH}"
        return
    match curated["verdict"]:
        case "duplicate":
            yield f"duplicate of {curated['kept_id']} at cosine {curated['cosine']:.4f}"
        case "kept":
            yield f"kept, stands for {len(stood_for)}" if stood_for else "kept"
        case verdict:
            yield f"{verdict}: {curated['reason']}"
    for row in stood_for[:N_LISTED]:
        yield f"{row['cosine']:.4f}  {row['id']}"
    if len(stood_for) > N_LISTED:
        yield f"… and {len(stood_for) - N_LISTED} more"


def _decisions(settings: Settings) -> str:
    duplicates = settings.duplicates
    by = f" by {', '.join(duplicates.best_by)}" if duplicates.best_by else ""
    seed = f" with seed {duplicates.seed}" if duplicates.keep == "random" else ""
    return (
        f"eps {duplicates.eps:g}, max_eps {duplicates.max_eps:g}, keep {duplicates.keep}{by}{seed}"
        f", rule {duplicates.rule}"
    )


def write_pictures(path: Path, explanation: Explanation, work: Work) -> str:
    """Write the image beside those of its group; says which, or why there is none."""
    if explanation.sample.row["error"]:  # it may end this process too
        return f"none: the image is unreadable ({explanation.sample.row['error']})"
    group: list[tuple[str, Address]] = [(explanation.sample.image_id, explanation.sample.address)]
    if explanation.kept and explanation.curated:
        group.append((str(explanation.curated["kept_id"]), explanation.kept))
    group += [(row["id"], (row["shard"], row["position"])) for row in explanation.stands_for]
    shown = group[:N_PICTURED]
    images = read_images(work.tars, work.store, [address for _, address in shown])
    if not images:
        return "none: no such image member, or its tar is gone or was replaced"
    path.write_bytes(contact_sheet([[images.get(address) for _, address in shown]], PICTURE_SIDE))
    missing = [name for name, address in shown if address not in images]
    note = f"; missing: {', '.join(missing)}" if missing else ""
    return f"{path}: {', '.join(name for name, _ in shown)}{note}"
