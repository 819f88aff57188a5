"""Cost and recall of the search's kernels against brute force: exact, fast, within cells alone.

Legend: N images, D embedding width, K cells, P pairs, Q queries.

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
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import faiss
import numpy as np
import torch
from numpy.typing import NDArray
from search_cost import ONE_THREAD, memory_mib, print_heads, print_row
from synthetic_vectors import around, clip_like, unit

from curator_assets.kernels.cells import visit_cells
from curator_assets.kernels.found_pairs import Pairs
from curator_assets.kernels.kmeans import deduplicate_sample, train_centroids
from curator_assets.kernels.pairs import find_pairs
from curator_assets.kernels.resolution import (
    Resolution,
    resolve,
    resolve_greedy,
    resolve_semdedup,
)

FAST_VISITS, FAST_BOUND = 16, 0.6
METHODS: dict[str, dict[str, Any]] = {
    "exact": {"max_visits": None, "bound_fraction": 1.0},
    f"fast (top {FAST_VISITS}, {FAST_BOUND})": {
        "max_visits": FAST_VISITS,
        "bound_fraction": FAST_BOUND,
    },
    "within-cluster only": {"max_visits": 0, "bound_fraction": 1.0},
}
TIE, CONTEXT_EPS = 1e-6, 0.1
BRUTE_ROWS, BRUTE_COLUMNS = 1024, 2**16
COLUMNS = ["eps", "method", "CPU-s", "wall s", "of brute force", "visits", "pair recall"]
COLUMNS += ["removed recall", "resolve CPU-s", "pairs listed", "dense members"]
WIDTH = 768
CELLS_AT_131K, SAMPLE_A_CELL, ITERATIONS = 2048, 24, 10

Array = NDArray[Any]


@dataclass
class Clock:
    """CPU and wall seconds of a block."""

    cpu: float = 0.0
    wall: float = 0.0


@contextmanager
def timed() -> Iterator[Clock]:
    """A clock that holds the cost of the block once it is left."""
    clock, cpu, wall = Clock(), time.process_time(), time.perf_counter()
    yield clock
    clock.cpu, clock.wall = time.process_time() - cpu, time.perf_counter() - wall


def train_codebook(vectors: Array, seed: int) -> Array:
    """float32 [K, D]: trained on a thinned sample; K grows with the root of N."""
    n_images = len(vectors)
    n_cells = max(1, round(CELLS_AT_131K * (n_images / 2**17) ** 0.5))
    n_sampled = min(n_images, SAMPLE_A_CELL * n_cells)
    rng = np.random.default_rng(seed)
    sample = vectors[np.sort(rng.choice(n_images, n_sampled, replace=False))]
    sample = sample[deduplicate_sample(sample, min_cosine=0.95, seed=seed)]
    return train_centroids(sample, n_clusters=n_cells, n_iterations=ITERATIONS, seed=seed)


@dataclass(frozen=True)
class Reference:
    """Pairs of some query rows with all rows, by plain float32 products.

    ``cpu`` is the cost of comparing all N rows, scaled where the queries are a sample.
    """

    queries: Array  # int64 [Q], ascending
    a: Array  # int64 [P], a < b
    b: Array
    cosine: Array
    cpu: float
    complete: bool

    def at(self, eps: float) -> tuple[Array, Array, int]:
        """Pairs (a, b) above the threshold, ties left out, and the number of ties."""
        tie = np.abs(self.cosine - (1 - eps)) <= TIE
        near = (self.cosine >= 1 - eps) & ~tie
        return self.a[near], self.b[near], int(tie.sum())


def brute_force(vectors: Array, queries: Array, max_eps: float) -> Reference:
    """Every pair of a query at cosine >= 1 - max_eps, once."""
    n_images, threshold = len(vectors), 1 - max_eps - TIE
    complete = len(queries) == n_images
    everything = torch.from_numpy(vectors)
    asked = np.zeros(n_images, np.bool_)
    asked[queries] = True
    found = []
    with timed() as clock:
        for start in range(0, len(queries), BRUTE_ROWS):
            rows = queries[start : start + BRUTE_ROWS]
            block = everything[rows]
            for left in range(start if complete else 0, n_images, BRUTE_COLUMNS):
                products = block @ everything[left : left + BRUTE_COLUMNS].T
                row, column = (products >= threshold).nonzero(as_tuple=True)
                a, b = rows[row.numpy()], left + column.numpy()
                once = (a < b) | ((b < a) & ~asked[b])
                value = products[row, column].numpy()[once]
                found.append((np.minimum(a, b)[once], np.maximum(a, b)[once], value))
    a, b, cosine = (np.concatenate(part) for part in zip(*found, strict=True))
    cpu = clock.cpu if complete else clock.cpu * n_images / len(queries) / 2
    return Reference(queries, a, b, cosine, cpu, complete)


def found_of(pairs: Pairs, home: Array, a: Array, b: Array) -> NDArray[np.bool_]:
    """Which pairs (a, b) are listed in ``pairs`` or lie in one of its pools."""
    stride = int(max(home.max(), pairs.dense.cell.max(initial=0))) + 1
    n_images = len(home)
    listed = np.isin(a * n_images + b, pairs.a * n_images + pairs.b)
    members = pairs.dense.row * stride + pairs.dense.cell
    for x, y in ((a, b), (b, a)):  # x at home, y in the same pool
        listed |= np.isin(x * stride + home[x], members) & np.isin(y * stride + home[x], members)
    return listed


def orphans(removed: NDArray[np.bool_], reference: Reference, eps: float) -> str:
    """Of the removed queries, how many have no kept image within eps."""
    a, b, _ = reference.at(eps + 2 * TIE)
    covered = np.zeros(len(removed), np.bool_)
    covered[b[~removed[a]]] = True
    covered[a[~removed[b]]] = True
    asked = reference.queries[removed[reference.queries]]
    return f"{int((~covered[asked]).sum()):,} of {len(asked):,} removed"


def search(
    vectors: Array, centroids: Array, eps: float, **visits: Any
) -> tuple[Pairs, Array, float, Clock]:
    """Pairs, homes [N], mean number of visits, and what it cost."""
    with timed() as clock:
        assignment = visit_cells(vectors, centroids, min_cosine=1 - eps, device="cpu", **visits)
        pairs = find_pairs(
            vectors,
            assignment,
            cells=np.arange(len(centroids)),
            min_cosine=1 - eps,
            product_dtype="float32",
            device="cpu",
        )
    return pairs, assignment.home, len(assignment.visits) / len(vectors), clock


def settle(pairs: Pairs, vectors: Array, eps: float, home: Array | None = None) -> Resolution:
    """Greedy, or with ``home`` the peers' rule; in order of arrival, everyone alive."""
    policy: dict[str, Any] = {
        "alive": np.ones(len(vectors), np.bool_),
        "order": np.arange(len(vectors)),
        "min_cosine": 1 - eps,
        "vectors": vectors.__getitem__,
    }
    if home is not None:
        return resolve_semdedup(pairs, home=home, **policy)
    return resolve(pairs, content=None, **policy)


def compare(n_images: int, eps_values: list[float], args: argparse.Namespace) -> None:
    """The table of one size: every method at every eps."""
    vectors = clip_like(n_images, WIDTH, args.seed)
    n_queries = n_images if n_images <= args.full_brute_force else args.queries
    queries = np.sort(np.random.default_rng(args.seed).permutation(n_images)[:n_queries])
    with timed() as training:
        centroids = train_codebook(vectors, args.seed)
    reference = brute_force(vectors, queries, max(*eps_values, CONTEXT_EPS))
    n_pairs = len(reference.a) * n_images // n_queries // (1 if reference.complete else 2)
    sampled = "" if reference.complete else f", scaled from {n_queries:,} sampled queries"
    print(f"\n## N = {n_images:,}, D = {WIDTH}, K = {len(centroids):,}, one thread\n")
    mean = float((vectors[:2000] @ vectors[-2000:].T).mean())
    print(f"Mean cosine of two images: {mean:.3f}; about {n_pairs:,} pairs at cosine >= .90.")
    print(f"Codebook, shared by all methods with cells: {training.cpu:.1f} CPU-s.")
    print(f"Brute force in float32: {reference.cpu:.1f} CPU-s{sampled}.\n")
    print_heads(*COLUMNS)
    notes = []
    for eps in eps_values:
        notes.append(compare_cells(vectors, centroids, eps, reference))
    print("\n" + "\n".join(notes))
    print(f"\nPeak memory of the process: {memory_mib('VmHWM') / 1024:.1f} GiB.", flush=True)


def compare_cells(vectors: Array, centroids: Array, eps: float, reference: Reference) -> str:
    """Print the rows of the methods with cells; return what is true of the data at this eps."""
    a, b, n_ties = reference.at(eps)
    truth, note = None, f"- eps {eps}: {len(a):,} true pairs, {n_ties} ties within {TIE:g} apart"
    if reference.complete:
        kept_by, _ = resolve_greedy(len(vectors), a, b, np.ones(len(a), np.float32))
        truth = kept_by >= 0
    for method, visits in METHODS.items():
        pairs, home, n_visits, cost = search(vectors, centroids, eps, **visits)
        with timed() as settling:
            removed = settle(pairs, vectors, eps).removed
        truth = removed if truth is None else truth  # no full brute force: against exact
        if method == "exact":
            peers = settle(pairs, vectors, eps, home).removed
            note += f"; without a kept image within eps: greedy {orphans(removed, reference, eps)}"
            note += f", semdedup rule {orphans(peers, reference, eps)}"
        print_row(
            eps,
            method,
            f"{cost.cpu:.1f}",
            f"{cost.wall:.1f}",
            f"{cost.cpu / reference.cpu:.3f}",
            f"{n_visits:.1f}",
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
    centroids = train_codebook(vectors, args.seed)
    before = memory_mib("VmHWM")
    print(f"\n## Clump: N = {len(vectors):,}, D = {width}, K = {len(centroids):,}, eps = {eps}\n")
    pairs, home, n_visits, cost = search(vectors, centroids, eps, **METHODS["exact"])
    with timed() as settling:
        removed = settle(pairs, vectors, eps).removed
    with timed() as peers:
        removed_by_peers = settle(pairs, vectors, eps, home).removed
    print_heads("figure", "value")
    print_row("search", f"{cost.cpu:.1f} CPU-s, {cost.wall:.1f} s, {n_visits:.1f} visits")
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
