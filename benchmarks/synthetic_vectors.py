"""Seeded synthetic vectors that resemble CLIP embeddings of a web crawl.

Legend: N images, D embedding width.

Two images are at mean cosine about .48. Half of them are originals, spread over 400 Zipf topics of
20 subtopics each; the others are near-duplicates in groups of heavy-tailed size, stars around an
original or chains away from it. The spread was chosen so that with 2,048 cells an image of 131k
visits as many cells as measured on a hard set before (docs/log.md): about 2, 8 and 25 at eps .01,
.03 and .05.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

N_TOPICS, N_SUBTOPICS = 400, 20

Array = NDArray[Any]


def unit(rows: Array) -> Array:
    """float32 rows [n, D] scaled to norm 1."""
    rows = np.asarray(rows, np.float32)
    scaled: Array = rows / np.linalg.norm(rows, axis=-1, keepdims=True)
    return scaled


def clip_like(n_images: int, width: int, seed: int) -> Array:
    """float32 [N, D] unit vectors: 48 % originals by Zipf topics, the rest in stars and chains."""
    rng = np.random.default_rng(seed)
    spectrum = (1.0 + np.arange(width)) ** -0.5
    spectrum = (spectrum / np.linalg.norm(spectrum)).astype(np.float32)
    rotation = np.linalg.qr(rng.normal(size=(width, width)))[0].astype(np.float32)

    def draw(count: int) -> Array:
        scaled: Array = rng.standard_normal((count, width), dtype=np.float32) * spectrum
        return scaled @ rotation

    mean = unit(rng.normal(size=width))
    topics, subtopics = draw(N_TOPICS), draw(N_TOPICS * N_SUBTOPICS)
    share = 1.0 / (1.0 + np.arange(N_TOPICS))
    vectors = np.empty((n_images, width), np.float32)
    place = rng.permutation(n_images)
    n_originals = int(0.48 * n_images)
    for start in range(0, n_originals, 2**16):
        count = min(2**16, n_originals - start)
        topic = rng.choice(N_TOPICS, count, p=share / share.sum())
        subtopic = topic * N_SUBTOPICS + rng.integers(N_SUBTOPICS, size=count)
        rows = 0.81 * mean + 0.42 * topics[topic] + 0.33 * subtopics[subtopic] + 0.48 * draw(count)
        vectors[place[start : start + count]] = unit(rows)
    done = n_originals
    while done < n_images:
        size = int(min(n_images - done, 1000, 1 + rng.pareto(1.1)))
        original = vectors[place[rng.integers(n_originals)]]
        vectors[place[done : done + size]] = _planted(original, size, rng)
        done += size
    return vectors


def _planted(original: Array, size: int, rng: np.random.Generator) -> Array:
    """float32 [size, D]: copies of one original at some cosines, or a chain that starts there."""
    noise = rng.standard_normal((size, len(original)), dtype=np.float32)
    if size >= 3 and rng.random() < 0.3:
        cosine, rows = rng.uniform(0.95, 0.985), []
        for step in noise:
            across = unit(step - (step @ original) * original)
            original = unit(cosine * original + np.sqrt(1 - cosine**2) * across)
            rows.append(original)
        return np.stack(rows)
    if rng.random() < 0.5:
        return around(original, size, rng.uniform(0.94, 0.999), rng)
    return around(original, size, rng.uniform(0.9, 1.0, (size, 1)), rng)


def around(centre: Array, size: int, cosine: float | Array, rng: np.random.Generator) -> Array:
    """float32 [size, D] at one cosine from ``centre``: about its square from each other."""
    noise = rng.standard_normal((size, len(centre)), dtype=np.float32)
    across = unit(noise - (noise @ centre)[:, None] * centre)
    return unit(cosine * centre + np.sqrt(1 - cosine**2) * across)
