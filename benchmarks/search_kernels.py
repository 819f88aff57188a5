"""Cost and recall of the search's kernels against brute force: exact, fast, within cells alone.

Legend: N images, D embedding width, K cells.

    python benchmarks/search_kernels.py                    # N = 131,072, three eps
    python benchmarks/search_kernels.py --sizes 262144     # brute force on sampled queries
    python benchmarks/search_kernels.py --clump            # 100k copies and a clump of 50k

All methods run in one process on one thread, on synthetic vectors (synthetic_vectors.py). The
search whole, with what is read and written, is near_duplicates.py's.
"""

from __future__ import annotations

import argparse
import os
import sys
from dataclasses import dataclass
from typing import Any

import faiss
import numpy as np
import torch
from numpy.typing import NDArray
from removed_rows import removed_rows
from search_cost import ONE_THREAD, memory_mib, print_heads, print_row
from search_truth import TIE, Clock, Reference, brute_force, found_of, timed
from synthetic_vectors import around, clip_like, unit

from curator_assets.kernels.cell_group import CellGroup
from curator_assets.kernels.cells import visit_cells
from curator_assets.kernels.found_pairs import Pairs
from curator_assets.kernels.kmeans import deduplicate_sample, train_centroids
from curator_assets.kernels.pairs import Found, find_pairs
from curator_assets.kernels.prefix import PrefixBasis, principal_directions

FAST_VISITS, FAST_BOUND = 16, 0.6
METHODS: dict[str, dict[str, Any]] = {
    "exact": {"max_visits": None, "bound_fraction": 1.0},
    f"fast (top {FAST_VISITS}, {FAST_BOUND})": {
        "max_visits": FAST_VISITS,
        "bound_fraction": FAST_BOUND,
    },
    "within-cluster only": {"max_visits": 0, "bound_fraction": 1.0},
}
CONTEXT_EPS = 0.1
COLUMNS = ["eps", "method", "CPU-s", "wall s", "of brute force", "visits"]
COLUMNS += [
    "compared",
    "pair recall",
    "removed recall",
    "resolve CPU-s",
    "pairs listed",
    "dense members",
]
WIDTH = 768
CELLS_AT_131K, SAMPLE_A_CELL, ITERATIONS, BASIS_SAMPLE = 2048, 24, 10, 8192

Array = NDArray[Any]


def train_codebook(vectors: Array, seed: int) -> tuple[Array, PrefixBasis | None]:
    """float32 [K, D], trained on a thinned sample, and prefixes; K grows with the root of N."""
    n_images = len(vectors)
    n_cells = max(1, round(CELLS_AT_131K * (n_images / 2**17) ** 0.5))
    n_sampled = min(n_images, SAMPLE_A_CELL * n_cells)
    rng = np.random.default_rng(seed)
    sample = vectors[np.sort(rng.choice(n_images, n_sampled, replace=False))]
    sample = sample[deduplicate_sample(sample, min_cosine=0.95, seed=seed)]
    centroids = train_centroids(sample, n_clusters=n_cells, n_iterations=ITERATIONS, seed=seed)
    return centroids, principal_directions(sample[:BASIS_SAMPLE], centroids)


def orphans(removed: NDArray[np.bool_], reference: Reference, eps: float) -> str:
    """Of the removed queries, how many have no kept image within eps."""
    a, b, _ = reference.at(eps + 2 * TIE)
    covered = np.zeros(len(removed), np.bool_)
    covered[b[~removed[a]]] = True
    covered[a[~removed[b]]] = True
    asked = reference.queries[removed[reference.queries]]
    return f"{int((~covered[asked]).sum()):,} of {len(asked):,} removed"


@dataclass(frozen=True)
class Searched:
    """What the kernels found of all cells, where images live, and what it cost."""

    found: Found
    home: Array
    n_visits: float  # mean of an image
    cost: Clock

    @property
    def compared_share(self) -> float:
        """Pairs of which a product was taken, of all."""
        n_images = len(self.home)
        return self.found.counts.n_compared / (n_images * (n_images - 1) / 2)


def search(
    vectors: Array, codebook: tuple[Array, PrefixBasis | None], eps: float, **visits: Any
) -> Searched:
    """Every pair that the cells meet."""
    centroids, basis = codebook
    with timed() as clock:
        assignment = visit_cells(vectors, centroids, min_cosine=1 - eps, device="cpu", **visits)
        group = CellGroup.of(vectors, assignment, np.arange(len(centroids)), basis)
        found = find_pairs(group, min_cosine=1 - eps, product_dtype="float32", device="cpu")
    return Searched(found, assignment.home, len(assignment.visits) / len(vectors), clock)


def compare(n_images: int, eps_values: list[float], args: argparse.Namespace) -> None:
    """The table of one size: every method at every eps."""
    vectors = clip_like(n_images, WIDTH, args.seed)
    n_queries = n_images if n_images <= args.full_brute_force else args.queries
    queries = np.sort(np.random.default_rng(args.seed).permutation(n_images)[:n_queries])
    with timed() as training:
        codebook = train_codebook(vectors, args.seed)
    reference = brute_force(vectors, queries, max(*eps_values, CONTEXT_EPS))
    n_pairs = len(reference.a) * n_images // n_queries // (1 if reference.complete else 2)
    sampled = "" if reference.complete else f", scaled from {n_queries:,} sampled queries"
    print(f"\n## N = {n_images:,}, D = {WIDTH}, K = {len(codebook[0]):,}, one thread\n")
    mean = float((vectors[:2000] @ vectors[-2000:].T).mean())
    print(f"Mean cosine of two images: {mean:.3f}; about {n_pairs:,} pairs at cosine >= .90.")
    print(f"Codebook, shared by all methods with cells: {training.cpu:.1f} CPU-s.")
    print(f"Brute force in float32: {reference.cpu:.1f} CPU-s{sampled}.\n")
    print_heads(*COLUMNS)
    notes = []
    for eps in eps_values:
        notes.append(compare_cells(vectors, codebook, eps, reference))
    print("\n" + "\n".join(notes))
    print(f"\nPeak memory of the process: {memory_mib('VmHWM') / 1024:.1f} GiB.", flush=True)


def compare_cells(
    vectors: Array, codebook: tuple[Array, PrefixBasis | None], eps: float, reference: Reference
) -> str:
    """Print the rows of the methods with cells; return what is true of the data at this eps."""
    a, b, n_ties = reference.at(eps)
    truth, note = None, f"- eps {eps}: {len(a):,} true pairs, {n_ties} ties within {TIE:g} apart"
    if reference.complete:
        listed = Pairs(a, b, np.ones(len(a), np.float32), np.zeros(len(a), np.bool_))
        truth = removed_rows(listed, vectors, eps)
    for method, visits in METHODS.items():
        searched = search(vectors, codebook, eps, **visits)
        pairs, home, cost = searched.found.pairs, searched.home, searched.cost
        with timed() as settling:
            removed = removed_rows(pairs, vectors, eps)
        truth = removed if truth is None else truth  # no full brute force: against exact
        if method == "exact":
            peers = removed_rows(pairs, vectors, eps, home)
            note += f"; without a kept image within eps: greedy {orphans(removed, reference, eps)}"
            note += f", semdedup rule {orphans(peers, reference, eps)}"
        print_row(
            eps,
            method,
            f"{cost.cpu:.1f}",
            f"{cost.wall:.1f}",
            f"{cost.cpu / reference.cpu:.3f}",
            f"{searched.n_visits:.1f}",
            f"{searched.compared_share:.4f}",
            f"{found_of(pairs, home, a, b).mean():.6f}",
            f"{(removed & truth).sum() / max(1, int(truth.sum())):.6f}",
            f"{settling.cpu:.1f}",
            f"{len(pairs.a):,}",
            f"{len(pairs.dense.row):,}",
        )
    return note


def clump(args: argparse.Namespace) -> None:
    """200k images: 100k copies of one, 50k within eps of each other, 50k ordinary ones."""
    eps, rng, width = 0.05, np.random.default_rng(args.seed), WIDTH
    vectors = np.concatenate(
        [
            clip_like(50_000, width, args.seed),
            np.repeat(unit(rng.normal(size=(1, width))), 100_000, axis=0),
            around(unit(rng.normal(size=width)), 50_000, 0.98, rng),
        ]
    )
    vectors = vectors[rng.permutation(len(vectors))]
    codebook = train_codebook(vectors, args.seed)
    before = memory_mib("VmHWM")
    print(f"\n## Clump: N = {len(vectors):,}, D = {width}, K = {len(codebook[0]):,}, eps = {eps}\n")
    searched = search(vectors, codebook, eps, **METHODS["exact"])
    pairs, home, cost = searched.found.pairs, searched.home, searched.cost
    with timed() as settling:
        removed = removed_rows(pairs, vectors, eps)
    with timed() as peers:
        removed_by_peers = removed_rows(pairs, vectors, eps, home)
    print_heads("figure", "value")
    print_row("search", f"{cost.cpu:.1f} CPU-s, {cost.wall:.1f} s, {searched.n_visits:.1f} visits")
    print_row("greedy resolution", f"{settling.cpu:.1f} CPU-s, {removed.sum():,} removed")
    print_row("semdedup resolution", f"{peers.cpu:.1f} CPU-s, {removed_by_peers.sum():,} removed")
    print_row("pairs listed", f"{len(pairs.a):,}: {len(pairs.a) / len(vectors):.2f} an image")
    print_row("of these copies", f"{pairs.identical.sum():,}")
    print_row("dense memberships", f"{len(pairs.dense.row):,}")
    print_row("peak memory", f"{memory_mib('VmHWM'):,.0f} MiB ({before:,.0f} before the search)")


def main() -> None:
    """Run what the command line asks for."""
    if not ONE_THREAD.items() <= os.environ.items():  # read once, when the libraries load
        os.execve(sys.executable, [sys.executable, *sys.argv], os.environ | ONE_THREAD)
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--sizes", type=int, nargs="*", default=None)
    parser.add_argument("--eps", type=float, nargs="+", default=[0.01, 0.03, 0.05])
    parser.add_argument("--full-brute-force", type=int, default=2**17, help="largest N for it")
    parser.add_argument("--queries", type=int, default=8192, help="of a sampled brute force")
    parser.add_argument("--clump", action="store_true")
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    torch.set_num_threads(1)
    faiss.omp_set_num_threads(1)
    if args.clump:
        clump(args)
    default = [] if args.clump else [2**17]
    for n_images in default if args.sizes is None else args.sizes:
        compare(n_images, args.eps, args)


if __name__ == "__main__":
    main()
