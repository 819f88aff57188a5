"""Public score heads: on which embeddings they were trained, and where they are published."""

from __future__ import annotations

from dataclasses import dataclass

_AESTHETIC = "https://github.com/LAION-AI/aesthetic-predictor/raw/main/"
_IMPROVED = "https://github.com/christophschuhmann/improved-aesthetic-predictor/raw/main/"
_NSFW = "https://github.com/LAION-AI/CLIP-based-NSFW-Detector/raw/main/models/"


@dataclass(frozen=True)
class KnownHead:
    """A public head: what it scores, and on the embeddings of which open_clip model and weights."""

    score: str
    model: str
    pretrained: str
    url: str


KNOWN_HEADS = {
    "aesthetic_mlp_vit_l_14": KnownHead(
        "aesthetic", "ViT-L-14", "openai", _IMPROVED + "sac%2Blogos%2Bava1-l14-linearMSE.pth"
    ),
    "aesthetic_linear_vit_l_14": KnownHead(
        "aesthetic", "ViT-L-14", "openai", _AESTHETIC + "sa_0_4_vit_l_14_linear.pth"
    ),
    "aesthetic_linear_vit_b_32": KnownHead(
        "aesthetic", "ViT-B-32", "openai", _AESTHETIC + "sa_0_4_vit_b_32_linear.pth"
    ),
    "nsfw_vit_l_14": KnownHead(
        "nsfw", "ViT-L-14", "openai", _NSFW + "clip_ViT-L-14_openai_binary_nsfw_head.pth"
    ),
    "nsfw_vit_b_32": KnownHead(
        "nsfw", "ViT-B-32", "openai", _NSFW + "clip_ViT-B-32_openai_binary_nsfw_head.pth"
    ),
}
"""In order of preference: of two heads for one score and model the first is taken."""


def find_known_head(score: str, model: str, pretrained: str) -> str | None:
    """The name of the public head that gives `score` on a model's embeddings, if there is one."""
    plain = model.removesuffix("-quickgelu")
    for name, head in KNOWN_HEADS.items():
        if (head.score, head.model, head.pretrained) == (score, plain, pretrained):
            return name
    return None
