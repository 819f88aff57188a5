"""Which weights the settings mean: of the embedding model and of the heads.

A file's hash is kept with its size and its time in the output, so that it is read once; so is what
a hub tag turned out to be. Nothing is fetched by asking.
"""

from __future__ import annotations

from curator_assets.models.hashes import Hashes
from curator_assets.models.identity import head_identity, tag_key, weights_identity
from curator_assets.settings import Settings
from curator_assets.storage.ledger import Entry, Ledger

RECORD = "weights"
"""The ledger entry of what is known of them."""


class Weights:
    """The identities of weights.

    Args:
        settings: in force.
        ledger: where they are remembered.
        is_forced: what is remembered is not looked at.

    Attributes:
        hashes: of files read before.
    """

    def __init__(self, settings: Settings, ledger: Ledger, *, is_forced: bool = False) -> None:
        self._settings, self._ledger = settings, ledger
        entry = None if is_forced else ledger.read(RECORD)
        match entry.state if entry else {}:
            case {"files": dict() as files, "tags": dict() as tags}:
                self._state = {"files": files, "tags": tags}
            case _:  # never written, or damaged
                self._state = {"files": {}, "tags": {}}
        self.hashes = Hashes(self._state["files"])
        self._tags = dict(self._state["tags"])

    def model(self) -> str | None:
        """`sha256:<hex>` of the embedding model's weights; None if they are not here yet."""
        model = self._settings.model
        return weights_identity(model.name, model.pretrained, self.hashes, self._tags)

    def head(self, score: str) -> str | None:
        """`sha256:<hex>` of a head's weights; None if they are not here yet."""
        head = self._settings.heads[score]
        return head_identity(score, head.weights, self._settings.known_head(score), self.hashes)

    def loaded(self, identity: str) -> None:
        """Take note of what the model's weights turned out to be."""
        model = self._settings.model
        if self.model() != identity:
            self._tags[tag_key(model.name, model.pretrained)] = identity

    def remember(self) -> None:
        """Keep in the output what was read and learned."""
        state = {"files": self.hashes.known, "tags": self._tags}
        if state != self._state:
            self._ledger.write(RECORD, None, Entry("", "", state=state))
            self._state = state
