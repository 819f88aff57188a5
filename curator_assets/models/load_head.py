"""Score heads from state dicts: LAION's aesthetic and NSFW heads, and a user's own.

LAION's aesthetic MLP has no activations between its layers; its NSFW heads standardise the
embedding, use ReLU and end in a sigmoid.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Mapping
from pathlib import Path

import torch

from curator_assets.kernels.heads import Head, HeadKind

HEAD_KINDS = {
    "linear": HeadKind(relu=False, sigmoid=False),
    "laion_aesthetic_mlp": HeadKind(relu=False, sigmoid=False),
    "laion_nsfw": HeadKind(relu=True, sigmoid=True),
}

_VARIANCE_FLOOR = 1e-10
_LAION_MLP_WEIGHTS = tuple(f"layers.{index}.weight" for index in (0, 2, 4, 6, 7))


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
