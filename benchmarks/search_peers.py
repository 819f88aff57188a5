"""What a person would do instead: all neighbours of all vectors, by libraries that are there.

Each in a process of its own on one thread: FAISS flat and IVF, usearch (`pip install usearch`; left
out where absent), scikit-learn, and plain float32 products. Those that take minutes answer for a
sample of the queries and are scaled, index and all; the table says so. A child of
near_duplicates.py.

Legend: N images, D embedding width, Q queries of the sample, P pairs.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import faiss
import numpy as np
import torch
from search_cost import Array, cpu_seconds, memory_mib, print_heads, print_row
from sklearn.neighbors import NearestNeighbors

N_QUERIES, N_SKLEARN_QUERIES = 8192, 2048
ROWS, COLUMNS = 1024, 2**16
TIE = 1e-6
"""Pairs as near as this to the threshold are not judged."""

UNSURE = 1e-4
"""What float32 products can't be further off by: such pairs are computed in float64."""


@dataclass(frozen=True)
class Truth:
    """Every pair of a sample of queries with all rows above the threshold.

    Attributes:
        queries: int64 [Q], ascending.
        query, other: int64 [P]; a pair of two queries is there from either side.
    """

    queries: Array
    query: Array
    other: Array


@dataclass(frozen=True)
class Answer:
    """What a peer found.

    Attributes:
        asked: int64 [A], the rows whose neighbours it was asked for.
        query, other: int64 [F], the pairs that it found.
        index_seconds, search_seconds: CPU-seconds of the index over all rows, and of these queries.
    """

    asked: Array
    query: Array
    other: Array
    index_seconds: float
    search_seconds: float


def compare_peers(
    vectors: Path, n_images: int, eps: float, run: Callable[..., dict[str, Any]]
) -> None:
    """The table of one size at one eps."""
    truth = vectors.with_suffix(f".truth-{eps}.npz")
    print(f"\n## Peers: N = {n_images:,}, eps = {eps}, one thread\n")
    heads = ["peer", "CPU-seconds", "of the index", "queries", "pair recall"]
    print_heads(*heads, "peak MiB (before)")
    for peer in PEERS:
        if peer.startswith("usearch") and not find_spec("usearch"):
            print_row(f"{PEERS[peer]}: left out, not installed", *[""] * len(heads))
            continue
        found = run("search_peers.py", vectors, eps, truth, "--peer", peer)
        scaled = "" if found["n_asked"] == n_images else ", scaled"
        cells = [f"{found['cpu_seconds']:.1f}", f"{found['index_seconds']:.1f}"]
        cells += [f"{found['n_asked']:,}{scaled}", f"{found['recall']:.6f}"]
        print_row(PEERS[peer], *cells, f"{found['peak_mib']:,.0f} ({found['start_mib']:,.0f})")


def main() -> None:
    """One peer, in this process: a line of JSON."""
    parser = argparse.ArgumentParser()
    parser.add_argument("vectors", type=Path)
    parser.add_argument("eps", type=float)
    parser.add_argument("truth", type=Path, help="a .npz, written by `products`")
    parser.add_argument("--peer", choices=PEERS)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    faiss.omp_set_num_threads(1)
    vectors, eps = np.load(arguments.vectors), arguments.eps
    start_mib = memory_mib("VmRSS")
    n_images = len(vectors)
    if arguments.peer == "products":
        queries = np.sort(np.random.default_rng(0).permutation(n_images)[:N_QUERIES])
        answer = by_products(vectors, queries, eps)
        np.savez(arguments.truth, queries=queries, query=answer.query, other=answer.other)
        truth = Truth(queries, answer.query, answer.other)
    else:
        truth = Truth(**np.load(arguments.truth))
        answer = SEARCHES[arguments.peer](vectors, truth.queries, eps)
    scale = n_images / len(answer.asked)
    found = {
        "cpu_seconds": answer.index_seconds + answer.search_seconds * scale,
        "index_seconds": answer.index_seconds,
        "n_asked": len(answer.asked),
        "recall": recall(answer, truth, n_images),
        "start_mib": start_mib,
        "peak_mib": memory_mib("VmHWM"),
    }
    print(json.dumps(found))


def recall(answer: Answer, truth: Truth, n_images: int) -> float:
    """Share of the true pairs of what was asked that were found, from either side."""
    first = np.minimum(answer.query, answer.other)
    found = first * n_images + np.maximum(answer.query, answer.other)
    judged = np.isin(truth.query, answer.asked)
    query, other = truth.query[judged], truth.other[judged]
    true = np.minimum(query, other) * n_images + np.maximum(query, other)
    return float(np.isin(true, found).mean())


def by_products(vectors: Array, queries: Array, eps: float) -> Answer:
    """The sample's neighbours by matrix products, half of which a whole search can do without."""
    everything, found = torch.from_numpy(vectors), []
    cpu = cpu_seconds()
    for start in range(0, len(queries), ROWS):
        rows = queries[start : start + ROWS]
        block = everything[rows]
        for left in range(0, len(vectors), COLUMNS):
            products = block @ everything[left : left + COLUMNS].T
            row, column = (products >= 1 - eps - UNSURE).nonzero(as_tuple=True)
            found.append((rows[row.numpy()], left + column.numpy()))
    seconds = cpu_seconds() - cpu
    query, other = (np.concatenate(part) for part in zip(*found, strict=True))
    cosine = np.einsum("ij,ij->i", vectors[query], vectors[other], dtype=np.float64)
    near = (cosine > 1 - eps + TIE) & (query != other)
    return Answer(queries, query[near], other[near], 0.0, seconds / 2)


def by_flat(vectors: Array, queries: Array, eps: float) -> Answer:
    """FAISS range search of the sample over a flat index."""
    return _by_range_search(faiss.IndexFlatIP(vectors.shape[1]), vectors, queries, eps)


def by_ivf(n_probe: int) -> Callable[[Array, Array, float], Answer]:
    """FAISS range search of all over an IVF index with as many cells as the product chooses."""

    def search(vectors: Array, _: Array, eps: float) -> Answer:
        n_images, width = vectors.shape
        n_cells = round((10 * n_images) ** 0.5)
        quantizer = faiss.IndexFlatIP(width)
        index = faiss.IndexIVFFlat(quantizer, width, n_cells, faiss.METRIC_INNER_PRODUCT)
        index.nprobe = n_probe
        return _by_range_search(index, vectors, np.arange(n_images), eps)

    return search


def _by_range_search(index: Any, vectors: Array, asked: Array, eps: float) -> Answer:
    cpu, found = cpu_seconds(), []
    index.train(vectors)
    index.add(vectors)
    index_seconds = cpu_seconds() - cpu
    for start in range(0, len(asked), N_QUERIES):
        rows = asked[start : start + N_QUERIES]
        limits, _, other = index.range_search(vectors[rows], 1 - eps)
        found.append((np.repeat(rows, np.diff(limits.astype(np.int64))), other))
    search_seconds = cpu_seconds() - cpu - index_seconds
    query, other = (np.concatenate(part) for part in zip(*found, strict=True))
    return Answer(asked, query, other, index_seconds, search_seconds)


def by_usearch(n_neighbours: int) -> Callable[[Array, Array, float], Answer]:
    """So many nearest of all by usearch's graph, those within eps of them: it knows no radius."""

    def search(vectors: Array, _: Array, eps: float) -> Answer:
        from usearch.index import Index

        asked, cpu = np.arange(len(vectors)), cpu_seconds()
        index = Index(ndim=vectors.shape[1], metric="ip", dtype="f32")
        index.add(asked, vectors, threads=1)
        index_seconds = cpu_seconds() - cpu
        found = index.search(vectors, n_neighbours, threads=1)
        near = found.distances <= eps
        search_seconds = cpu_seconds() - cpu - index_seconds
        query = np.repeat(asked, near.sum(axis=1))
        return Answer(
            asked, query, found.keys[near].astype(np.int64), index_seconds, search_seconds
        )

    return search


def by_sklearn(vectors: Array, queries: Array, eps: float) -> Answer:
    """scikit-learn's neighbours within a radius, by brute force, of a part of the sample."""
    asked = queries[:: len(queries) // N_SKLEARN_QUERIES]
    cpu = cpu_seconds()
    neighbours = NearestNeighbors(radius=eps, metric="cosine", algorithm="brute").fit(vectors)
    index_seconds = cpu_seconds() - cpu
    found = neighbours.radius_neighbors(vectors[asked], return_distance=False)
    search_seconds = cpu_seconds() - cpu - index_seconds
    query = np.repeat(asked, [len(row) for row in found])
    return Answer(asked, query, np.concatenate(found), index_seconds, search_seconds)


SEARCHES: dict[str, Callable[[Array, Array, float], Answer]] = {
    "flat": by_flat,
    "ivf4": by_ivf(4),
    "ivf8": by_ivf(8),
    "usearch64": by_usearch(64),
    "usearch256": by_usearch(256),
    "sklearn": by_sklearn,
}
PEERS = {
    "products": "plain products, each pair once",  # the first: it tells the others what is true
    "flat": "FAISS flat, range search",
    "ivf4": "FAISS IVF, nprobe 4",
    "ivf8": "FAISS IVF, nprobe 8",
    "usearch64": "usearch, 64 nearest",
    "usearch256": "usearch, 256 nearest",
    "sklearn": "scikit-learn, radius neighbours",
}


if __name__ == "__main__":
    main()
