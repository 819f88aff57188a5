"""Public score heads: on which embeddings they were trained, and where they are published."""

from __future__ import annotations

from dataclasses import dataclass

_AESTHETIC = "https://github.com/LAION-AI/aesthetic-predictor/raw/main/"
_IMPROVED = "https://github.com/christophschuhmann/improved-aesthetic-predictor/raw/main/"
_NSFW = "https://github.com/LAION-AI/CLIP-based-NSFW-Detector/raw/main/models/"


@dataclass(frozen=True)
class KnownHead:
    """A public head: what it scores, and on the embeddings of which open_clip model and weights.

    `sha256` is the hex hash of the file at `url`; None: what comes is taken.
    """

    score: str
    model: str
    pretrained: str
    url: str
    sha256: str | None = None


KNOWN_HEADS = {
    "aesthetic_mlp_vit_l_14": KnownHead(
        "aesthetic",
        "ViT-L-14",
        "openai",
        _IMPROVED + "sac%2Blogos%2Bava1-l14-linearMSE.pth",
        "21dd590f3ccdc646f0d53120778b296013b096a035a2718c9cb0d511bff0f1e0",
    ),
    "aesthetic_linear_vit_l_14": KnownHead(
        "aesthetic",
        "ViT-L-14",
        "openai",
        _AESTHETIC + "sa_0_4_vit_l_14_linear.pth",
        "2cd4e60f4f24ae3bcd57b847b13c1f3ba27edc28cc1a7f9ce74ee9f421243cba",
    ),
    "aesthetic_linear_vit_b_32": KnownHead(
        "aesthetic",
        "ViT-B-32",
        "openai",
        _AESTHETIC + "sa_0_4_vit_b_32_linear.pth",
        "c7b14cead230694acc7b9447974d3cad78003c72da032e402a303b6c2429e85f",
    ),
    "nsfw_vit_l_14": KnownHead(
        "nsfw",
        "ViT-L-14",
        "openai",
        _NSFW + "clip_ViT-L-14_openai_binary_nsfw_head.pth",
        # by the file's name and shape; the aesthetic ones are the very files in their repositories
        "fc4d70d2eea4e948d13bc27bf7114f5e8d3bd317eb01a4b49b35dcf1a3d672c6",
    ),
    # not pinned: its repository has held two files of this name
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
