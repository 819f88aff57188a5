"""The partitions of an instance, without an instance."""

from dataclasses import dataclass, field


@dataclass
class Registered:
    names: list[str] = field(default_factory=list)

    def shards(self) -> list[str]:
        return self.names

    def add(self, shards: list[str]) -> None:
        self.names += shards

    def remove(self, shard: str) -> None:
        if shard in self.names:
            self.names.remove(shard)

    def regroup(self) -> None:
        """Each shard is a partition here."""
