"""Long work says how far it is, at a rate that a person can read."""

import logging
import time

SECONDS_BETWEEN_LINES = 10.0


class Progress:
    """Counts what is done and logs the rate and the share done, at most every ten seconds.

    Args:
        log: the run's log.
        unit: what is counted, in the plural.
        n_partitions: how many partitions the work is divided into.
    """

    def __init__(self, log: logging.Logger, unit: str, n_partitions: int) -> None:
        self._log = log
        self._unit = unit
        self._n_partitions = n_partitions
        self._n_finished = 0
        self._n = 0
        self._started = self._last_line = time.monotonic()

    @property
    def per_second(self) -> float:
        """Units a second since the start."""
        return self._n / max(time.monotonic() - self._started, 1e-9)

    def advance(self, n: int) -> None:
        """Count `n` more units."""
        self._n += n
        if time.monotonic() - self._last_line >= SECONDS_BETWEEN_LINES:
            self._line()

    def finish_partition(self) -> None:
        """Count one more partition as finished."""
        self._n_finished += 1
        if self._n_finished == self._n_partitions:
            self._line()

    def _line(self) -> None:
        self._last_line = time.monotonic()
        self._log.info(
            "%d %s, %.1f/s; %d of %d partitions finished (%d %%)",
            self._n,
            self._unit,
            self.per_second,
            self._n_finished,
            self._n_partitions,
            100 * self._n_finished // max(self._n_partitions, 1),
        )
