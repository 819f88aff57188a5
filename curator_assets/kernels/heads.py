"""Score heads on embeddings: LAION's aesthetic and NSFW heads, and a user's own.

Legend: N images, D embedding width.

A head is a stack of linear layers, read from a state dict. LAION's aesthetic MLP has no
activations between them; its NSFW heads standardise the embedding, use ReLU and end in a sigmoid.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

_BATCH_ROWS = 1024
_VARIANCE_FLOOR = 1e-10
_LAION_MLP_WEIGHTS = tuple(f"layers.{index}.weight" for index in (0, 2, 4, 6, 7))


class HeadMismatchError(ValueError):
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


HEAD_KINDS = {
    "linear": HeadKind(relu=False, sigmoid=False),
    "laion_aesthetic_mlp": HeadKind(relu=False, sigmoid=False),
    "laion_nsfw": HeadKind(relu=True, sigmoid=True),
}


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


def load_head(
    source: Path | Mapping[str, torch.Tensor],
    *,
    name: str,
    kind: HeadKind | None,
) -> Head:
    """A head from a state dict or a file that holds one.

    Args:
        source: the state dict of a linear layer (``weight``, ``bias``) or of a stack of them in
            any naming that counts them (``0.weight``, ``layers.2.weight``, ``linear_1.weight``),
            with ``norm.mean`` and ``norm.variance`` where it standardises; or its path.
        name: for settings and messages.
        kind: None to infer it, which works for LAION's heads and a single linear layer.

    Returns:
        The head, on the CPU.

    Raises:
        ValueError: the layers do not chain to one output, or ``kind`` can't be inferred.
    """
    if isinstance(source, Mapping):
        given = source
    else:
        given = torch.load(source, map_location="cpu", weights_only=True)
    state = {key: value.detach().to("cpu", torch.float32) for key, value in given.items()}
    weights = sorted((key for key in state if state[key].ndim == 2), key=_natural)
    layers = tuple((state[key], _bias(state, key)) for key in weights)
    _check_chain(name, layers)
    dim = layers[0][0].shape[1]
    mean, scale = torch.zeros(dim), torch.ones(dim)
    if "norm.mean" in state:
        mean, scale = state["norm.mean"], state["norm.variance"].sqrt() + _VARIANCE_FLOOR
    return Head(name, dim, layers, kind or _infer_kind(name, state, weights), mean, scale)


def _natural(key: str) -> list[int | str]:
    return [int(part) if part.isdigit() else part for part in re.split(r"(\d+)", key)]


def _bias(state: Mapping[str, torch.Tensor], weight: str) -> torch.Tensor:
    bias = state.get(weight.removesuffix("weight") + "bias")
    return torch.zeros(state[weight].shape[0]) if bias is None else bias


def _check_chain(name: str, layers: tuple[tuple[torch.Tensor, torch.Tensor], ...]) -> None:
    shapes = [tuple(weight.shape) for weight, _ in layers]
    chained = all(a[0] == b[1] for a, b in itertools.pairwise(shapes))
    if not shapes or not chained or shapes[-1][0] != 1:
        raise ValueError(
            f"head '{name}': expected linear layers that chain to one output, "
            f"found weights of shape {shapes}"
        )


def _infer_kind(name: str, state: Mapping[str, torch.Tensor], weights: list[str]) -> HeadKind:
    if "norm.mean" in state:
        return HEAD_KINDS["laion_nsfw"]
    if tuple(weights) == _LAION_MLP_WEIGHTS:
        return HEAD_KINDS["laion_aesthetic_mlp"]
    if len(weights) == 1:
        return HEAD_KINDS["linear"]
    raise ValueError(
        f"head '{name}': a state dict of {len(weights)} layers does not say whether ReLU lies "
        "between them or a sigmoid at the end: pass kind=HeadKind(relu=..., sigmoid=...)"
    )
