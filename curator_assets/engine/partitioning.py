"""What the partitions of a stage are, and why one of them can't be made."""

from enum import Enum, auto

Partition = str
"""A shard or a cell group; `ALL` of an asset without partitions."""

ALL = ""


class Partitioning(Enum):
    """What the partitions of a stage are."""

    SHARD = auto()
    CELL_GROUP = auto()
    WHOLE = auto()


class MissingInputError(RuntimeError):
    """A partition can't be made because something upstream of it was not made yet."""


class UndecidedError(RuntimeError):
    """Whether a partition is fresh can't be known before something is made; says what."""


class PartitionError(RuntimeError):
    """A partition can't be made as its inputs are; `check` names the check that it fails."""

    def __init__(self, message: str, *, check: str | None = None) -> None:
        super().__init__(message)
        self.check = check
