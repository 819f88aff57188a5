import numpy as np
import pytest
import torch

from curator_assets.kernels.heads import Head, HeadKind, HeadMismatchError


def head(name, weights, *, relu=False):
    layers = tuple((weight, torch.zeros(len(weight))) for weight in weights)
    dim = weights[0].shape[1]
    kind = HeadKind(relu=relu, sigmoid=False)
    return Head(name, dim, layers, kind, torch.zeros(dim), torch.ones(dim))


def test_a_head_of_another_width_is_refused_by_name_and_width():
    aesthetic = head("aesthetic", [torch.zeros(1, 768)])
    with pytest.raises(HeadMismatchError, match=r"'aesthetic'.*768.*'ViT-B-32/openai'.*512"):
        aesthetic.require_fit(embedding_model="ViT-B-32/openai", embedding_dim=512)
    with pytest.raises(HeadMismatchError, match="width 512"):
        aesthetic(np.zeros((1, 512), np.float32))


def test_a_score_does_not_depend_on_the_rows_beside_it():
    generator = torch.Generator().manual_seed(0)
    sizes = [(64, 48), (32, 64), (1, 32)]
    mine = head("mine", [torch.randn(*size, generator=generator) for size in sizes], relu=True)
    rows = np.random.default_rng(0).normal(size=(1500, 48)).astype(np.float32)
    rows /= np.linalg.norm(rows, axis=1, keepdims=True)
    whole = mine(rows)
    cuts = np.split(rows, [0, 1, 9, 1030])
    np.testing.assert_array_equal(whole, np.concatenate([mine(part) for part in cuts]))
    assert mine(rows[:0]).shape == (0,)
