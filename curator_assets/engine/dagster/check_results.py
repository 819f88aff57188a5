"""What the checks of an asset found in one run, as Dagster's evaluations: one a check."""

from collections import defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import dagster as dg

from curator_assets.engine.dagster.metadata_values import metadata_values
from curator_assets.engine.partitioning import ALL, Partition
from curator_assets.engine.stage import Failed, Observed
from curator_assets.storage.ledger import Entry

_FAILED_SHOWN = 50
"""Failed partitions that a check names."""


@dataclass
class _Found:
    """What one check found in this run."""

    passed: dict[Partition, Mapping[str, Any]] = field(default_factory=dict)
    failed: dict[Partition, Mapping[str, Any]] = field(default_factory=dict)
    holds_up: bool = False


class CheckResults:
    """Gathers what the checks of an asset found, by partition.

    Args:
        key: of the asset.
    """

    def __init__(self, key: dg.AssetKey) -> None:
        self._key = key
        self._found = defaultdict[str, _Found](_Found)

    def recorded(self, partition: Partition, entry: Entry) -> None:
        """A partition passed the checks of its entry, but for those that it warns of."""
        for check, found in entry.checks.items():
            self._found[check].passed[partition] = found
        for check, found in entry.warnings.items():
            self._found[check].failed[partition] = found

    def failed(self, one: Failed) -> None:
        """A partition could not be made; it may be a check that it failed."""
        if one.check:
            self._found[one.check].failed[one.partition] = {"error": one.error}
            self._found[one.check].holds_up = True

    def observed(self, observed: Observed) -> None:
        """A check looked at the asset as a whole."""
        results = self._found[observed.check]
        (results.passed if observed.passed else results.failed)[ALL] = observed.found

    def evaluations(self) -> Iterator[dg.AssetCheckEvaluation]:
        """One of each check that found anything."""
        for check, found in self._found.items():
            yield dg.AssetCheckEvaluation(
                asset_key=self._key,
                check_name=check,
                passed=not found.failed,
                metadata=metadata_values(_told(found)),
                blocking=found.holds_up,
                severity=dg.AssetCheckSeverity.ERROR
                if found.holds_up or not found.failed
                else dg.AssetCheckSeverity.WARN,
            )


def _told(found: _Found) -> Mapping[str, Any]:
    """The metadata of a check; the count of partitions and the failed ones where there are any."""
    if set(found.passed) | set(found.failed) == {ALL}:
        return (found.failed or found.passed)[ALL]
    failed = [{"partition": partition, **what} for partition, what in list(found.failed.items())]
    counts = {"n_passed": len(found.passed), "n_failed": len(failed)}
    return counts | ({"failed": failed[:_FAILED_SHOWN]} if failed else {})
