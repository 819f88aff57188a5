"""`curate verify`: whether all that is stored is as it was recorded; `--repair` makes it so."""

from __future__ import annotations

import logging
from dataclasses import replace

from curator_assets.cli.calibrate import make_calibration
from curator_assets.cli.console import say
from curator_assets.cli.exit_status import FAILED
from curator_assets.cli.instance import project_instance
from curator_assets.cli.progress_bar import ShownProgress
from curator_assets.cli.refresh import refresh
from curator_assets.defs.deduplicate.eps_calibration import EPS_CALIBRATION
from curator_assets.engine.work import Purpose, Work
from curator_assets.errors import UserError
from curator_assets.questions.stored_work import stored_work
from curator_assets.questions.verification import Verified, forget, verify
from curator_assets.settings import Settings
from curator_assets.settings_file import load_settings, settings_file
from curator_assets.storage.lease import hold_lease


def check_stored(*, repair: bool) -> int:
    """Print what is not as it was recorded, and make it again if asked to; the exit status.

    Raises:
        UserError: nothing can be repaired as it is: settings, source, a refresh that runs.
    """
    settings = load_settings()
    found = _verified(settings)
    _tell(found)
    if not repair or not found.troubles:
        return FAILED if found.troubles else 0
    work = _work(settings)
    with hold_lease(work.store, "curate verify --repair"):
        forget(work, found)
    status = refresh((), force=False)
    if any(trouble.asset == EPS_CALIBRATION.name for trouble in found.troubles):
        with project_instance(settings_file()) as instance:
            make_calibration(instance, settings)
    repaired = _verified(settings)
    _tell(repaired)
    return status or (FAILED if repaired.troubles else 0)


def _work(settings: Settings) -> Work:
    """What is stored, whatever the order of arrival."""
    try:
        return stored_work(settings)
    except UserError:
        return Work(settings, (), logging.getLogger(__name__), Purpose.LOOK)


def _verified(settings: Settings) -> Verified:
    with ShownProgress() as shown:
        return verify(replace(_work(settings), watch=shown))


def _tell(found: Verified) -> None:
    for name, what, asset, partition in found.troubles:
        of = f" ({asset}{f' of {partition!r}' if partition else ''})" if asset else ""
        say(f"{name}{of}: {what}", "red")
    for name in found.unvouched:
        say(f"{name}: no ledger entry vouches for it; left as it is", "yellow")
    n_wrong, n_unvouched = len(found.troubles), len(found.unvouched)
    told = f"{n_wrong:,} not as recorded" if n_wrong else "all as recorded"
    told += f"; {n_unvouched:,} not vouched for" if n_unvouched else ""
    say(f"{found.n_files:,} files, {found.n_bytes:,} bytes: {told}")
