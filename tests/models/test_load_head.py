import numpy as np
import pytest
import torch

from curator_assets.kernels.heads import HeadKind
from curator_assets.models.known_heads import KNOWN_HEADS
from curator_assets.models.load_head import load_head

AESTHETIC = [
    ("aesthetic_sa_0_4_vit_l_14_linear.pth", "vit_l_14", -2.46, 11.30),
    ("aesthetic_sa_0_4_vit_b_32_linear.pth", "vit_b_32", -1.47, 11.01),
    ("aesthetic_sac+logos+ava1-l14-linearMSE.pth", "vit_l_14", 1.66, 5.75),
]
FILES = {
    "aesthetic_linear_vit_l_14": AESTHETIC[0][0],
    "aesthetic_linear_vit_b_32": AESTHETIC[1][0],
    "aesthetic_mlp_vit_l_14": AESTHETIC[2][0],
    "nsfw_vit_l_14": "nsfw_clip_ViT-L-14_openai_binary_head.pth",
    "nsfw_vit_b_32": "nsfw_clip_ViT-B-32_openai_binary_head.pth",
}


def unit(rows):
    rows = np.asarray(rows, np.float32)
    return rows / np.linalg.norm(rows, axis=1, keepdims=True)


@pytest.mark.parametrize(("file", "model", "lowest", "highest"), AESTHETIC)
def test_aesthetic_heads_rise_with_the_rating(shared_data, file, model, lowest, highest):
    by_rating = np.load(shared_data / "clip_vectors" / f"laion_mean_by_rating_{model}.npy")
    scores = load_head(shared_data / "heads" / file, name="aesthetic", kind=None)(unit(by_rating))
    assert (np.diff(scores) > 0).all()
    assert scores[[0, -1]] == pytest.approx([lowest, highest], abs=0.006)


@pytest.mark.parametrize("model", ["ViT-L-14", "ViT-B-32"])
def test_nsfw_heads_follow_their_formula(shared_data, model):
    path = shared_data / "heads" / f"nsfw_clip_{model}_openai_binary_head.pth"
    tag = model.lower().replace("-", "_")
    rows = unit(np.load(shared_data / "clip_vectors" / f"laion_mean_by_rating_vi{tag[2:]}.npy"))
    scores = load_head(path, name="nsfw", kind=None)(rows)
    state = torch.load(path, map_location="cpu", weights_only=True)
    hidden = torch.from_numpy(rows).double()
    hidden = (hidden - state["norm.mean"]) / (state["norm.variance"].double().sqrt() + 1e-10)
    n_layers = sum(key.endswith("weight") for key in state)
    for k in range(1, n_layers + 1):
        weight, bias = state[f"linear_{k}.weight"].double(), state[f"linear_{k}.bias"].double()
        hidden = hidden @ weight.T + bias
        hidden = hidden.relu() if k < n_layers else hidden.sigmoid()
    np.testing.assert_allclose(scores, hidden[:, 0].numpy(), rtol=1e-3, atol=1e-5)
    assert ((scores >= 0) & (scores <= 1)).all()


def test_known_heads_are_what_their_files_hold(shared_data):
    assert FILES.keys() == KNOWN_HEADS.keys()
    dims = {"ViT-L-14": 768, "ViT-B-32": 512}
    for name, known in KNOWN_HEADS.items():
        head = load_head(shared_data / "heads" / FILES[name], name=name, kind=None)
        assert head.kind.sigmoid == (known.score == "nsfw")
        head.require_fit(embedding_model=known.model, embedding_dim=dims[known.model])


def test_a_linear_layer_of_ones_own():
    state = {"weight": torch.tensor([[2.0, -1.0]]), "bias": torch.tensor([0.5])}
    head = load_head(state, name="mine", kind=None)
    scores = head(np.array([[1, 0], [0, 1]], np.float32))
    assert scores.dtype == np.float32
    assert scores.tolist() == [2.5, -0.5]
    assert head.embedding_dim == 2
    squashed = load_head(state, name="mine", kind=HeadKind(relu=False, sigmoid=True))
    assert squashed(np.array([[0, 0.5]], np.float32)).tolist() == [0.5]


@pytest.mark.parametrize("prefix", ["", "layers.", "net.fc"])
def test_an_mlp_of_ones_own_says_its_activations(prefix):
    state = {
        f"{prefix}10.weight": torch.tensor([[1.0]]),  # natural order: after 2
        f"{prefix}2.weight": torch.tensor([[1.0, -1.0]]),
        f"{prefix}2.bias": torch.tensor([3.0]),
        f"{prefix}0.weight": torch.tensor([[1.0, 0.0], [0.0, 1.0]]),
    }
    row = np.array([[-2, 1]], np.float32)
    with pytest.raises(ValueError, match="'mine': a state dict of 3 layers does not say"):
        load_head(state, name="mine", kind=None)
    assert load_head(state, name="m", kind=HeadKind(relu=True, sigmoid=False))(row)[0] == 2.0
    assert load_head(state, name="m", kind=HeadKind(relu=False, sigmoid=False))(row)[0] == 0.0


@pytest.mark.parametrize(
    "state",
    [
        {},
        {"weight": torch.zeros(2, 4)},
        {"0.weight": torch.zeros(3, 4), "1.weight": torch.zeros(1, 2)},
    ],
)
def test_layers_that_do_not_chain_to_one_score_are_refused(state):
    with pytest.raises(ValueError, match="chain to one output"):
        load_head(state, name="broken", kind=None)
