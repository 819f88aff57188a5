"""`curate check`: whether a refresh can be done, before anything is embedded."""

from __future__ import annotations

from curator_assets.cli.console import say
from curator_assets.cli.exit_status import FAULT, MEND, status_and_paragraph
from curator_assets.cli.instance import looked_at_instance
from curator_assets.engine.dagster.instance_partitions import InstanceRegistry
from curator_assets.questions.readiness import LOOKS, NEEDS, Seen
from curator_assets.settings_file import load_settings, settings_file
from curator_assets.storage.bucket.outage import patience

PATIENCE_SECONDS = 10.0


def check() -> int:
    """Print what each look finds; the exit status. A store that is away is not waited for.

    Raises:
        SettingsError: the settings can't be read, or the instance is another project's.
    """
    with patience(PATIENCE_SECONDS):
        return _check()


def _check() -> int:
    seen, status = Seen(load_settings()), 0
    with looked_at_instance(settings_file()) as instance:
        InstanceRegistry(instance, seen.settings)
    say(f"settings  ok    {settings_file()}")
    failed = set[str]()
    for name, look in LOOKS.items():
        if (name == "heads" and not seen.settings.heads) or NEEDS.get(name, set()) & failed:
            continue
        try:
            for text, is_warning in look(seen):
                say(f"{name:<10}{'note' if is_warning else 'ok':<6}{text}", "yellow" * is_warning)
        except Exception as error:  # whatever is in the way of one, the others are looked at
            found, text = status_and_paragraph(error)
            say(f"{name:<10}{'FAIL':<6}{text}", "red")
            status = max(status, found if found == FAULT else MEND)
            failed.add(name)
    say("not ready: mend what failed" if status else "ready: `curate refresh`")
    return status
