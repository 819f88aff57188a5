"""Score heads: small stacks of linear layers on the embedding, one number an image.

Legend: N images, D embedding width.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from curator_assets.errors import UserError

_BATCH_ROWS = 1024


class HeadMismatchError(UserError, ValueError):
    """A head was put on embeddings of another width than it was trained on."""

    def __init__(self, head: str, head_dim: int, embedding_model: str, embedding_dim: int) -> None:
        super().__init__(
            f"head '{head}' takes embeddings of width {head_dim}, but '{embedding_model}' gives "
            f"width {embedding_dim}: choose a head trained on that model, or another model"
        )


@dataclass(frozen=True)
class HeadKind:
    """What lies around a head's linear layers, which a state dict does not say.

    Attributes:
        relu: ReLU between the layers.
        sigmoid: sigmoid at the end, so that scores lie in 0 to 1.
    """

    relu: bool
    sigmoid: bool


@dataclass(frozen=True)
class Head:
    """A score head, ready to be called.

    Attributes:
        name: as in settings and error messages.
        embedding_dim: D.
        layers: (weight float32 [out, in], bias float32 [out]) of each linear layer.
        kind: what lies around the layers.
        mean: float32 [D] subtracted first, zeros where the head has none.
        scale: float32 [D] divided by next, ones where the head has none.
    """

    name: str
    embedding_dim: int
    layers: tuple[tuple[torch.Tensor, torch.Tensor], ...]
    kind: HeadKind
    mean: torch.Tensor
    scale: torch.Tensor

    def require_fit(self, *, embedding_model: str, embedding_dim: int) -> None:
        """Refuse embeddings of another width.

        Raises:
            HeadMismatchError: the widths differ.
        """
        if embedding_dim != self.embedding_dim:
            raise HeadMismatchError(self.name, self.embedding_dim, embedding_model, embedding_dim)

    @torch.inference_mode()
    def __call__(self, embeddings: NDArray[np.float32]) -> NDArray[np.float32]:
        """Score of each embedding, independent of the rows beside it.

        Args:
            embeddings: float32 [N, D], unit L2 norm.

        Returns:
            float32 [N]; in 0 to 1 for a head with a sigmoid, unbounded otherwise.

        Raises:
            HeadMismatchError: the width is not ``embedding_dim``.
        """
        self.require_fit(embedding_model="these embeddings", embedding_dim=embeddings.shape[1])
        scores = np.empty(len(embeddings), np.float32)
        batch = torch.zeros((_BATCH_ROWS, self.embedding_dim))  # one shape, so one rounding
        for start in range(0, len(embeddings), _BATCH_ROWS):
            block = np.ascontiguousarray(embeddings[start : start + _BATCH_ROWS], np.float32)
            batch[: len(block)] = torch.from_numpy(block)
            scores[start : start + len(block)] = self._forward(batch)[: len(block)].numpy()
        return scores

    def _forward(self, batch: torch.Tensor) -> torch.Tensor:
        hidden = (batch - self.mean) / self.scale
        for index, (weight, bias) in enumerate(self.layers):
            if index and self.kind.relu:
                hidden = hidden.relu()
            hidden = torch.nn.functional.linear(hidden, weight, bias)
        return (hidden.sigmoid() if self.kind.sigmoid else hidden)[:, 0]
