"""Which image stands for which, from the tables that are stored: for the asset and for trials.

Legend: *N samples of all shards, in order of arrival*.
"""

from collections.abc import Iterator, Sequence
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa

from curator_assets.defs.deduplicate.keep_policy import places
from curator_assets.defs.deduplicate.removals import Removals
from curator_assets.defs.deduplicate.stored_pairs import StoredPairs
from curator_assets.settings import Settings

if TYPE_CHECKING:
    from curator_assets.kernels.nodes import Nodes
    from curator_assets.kernels.resolution import Graph
    from curator_assets.kernels.sorted_runs import SortedRuns


def needs_assignments(settings: Settings) -> bool:
    """Whether the cells of the images bear on the resolution."""
    return settings.duplicates.rule == "semdedup" or settings.duplicates.keep in {"hard", "easy"}


class Resolver:
    """The resolution by some settings, at any eps up to one.

    In memory are 6 bytes a sample, 10 if another than the first image is kept, 4 more by the peers'
    rule; the images that have a copy; and runs of what is sorted. What is made for one eps serves
    for the others.

    Args:
        stored: what is resolved; several resolvers may share it.
        settings: rule, order and filters.
        max_eps: the largest eps that will be asked for; the stored `max_eps` if it is not given.
    """

    def __init__(
        self, stored: StoredPairs, settings: Settings, *, max_eps: float | None = None
    ) -> None:
        self._stored, self._settings = stored, settings
        self._max_eps = settings.duplicates.max_eps if max_eps is None else max_eps
        self._is_greedy = settings.duplicates.rule == "greedy"

    @property
    def n_rows(self) -> int:
        """How many samples there are."""
        return self._stored.numbers.n_rows

    @property
    def n_taking_part(self) -> int:
        """How many samples are readable and pass the filters."""
        return self._numbered[1]

    def n_removed(self, eps: float) -> int:
        """How many images are removed at cosine >= 1 - `eps`."""
        from curator_assets.kernels.resolution import count_linked, removed_greedily

        graph = self._graph(eps)
        if self._is_greedy:
            n_nodes = int(np.count_nonzero(removed_greedily(graph)))
        else:
            n_nodes = count_linked(graph)
        return n_nodes + len(self._nodes.copy_row)

    def n_removed_at(self, grid: Sequence[float]) -> dict[float, int]:
        """How many images each eps of an ascending grid removes.

        In one pass for all, unless pairs within dense pools have to be multiplied out at each.
        """
        from curator_assets.kernels.eps_sweep import count_removed_nodes

        graph = self._graph(grid[-1])
        if graph.pools:
            return {eps: self.n_removed(eps) for eps in grid}
        counts = count_removed_nodes(
            graph.nodes.n_nodes,
            graph.near(),
            [1 - eps for eps in grid],
            greedy=self._is_greedy,
        )
        n_copies = len(graph.nodes.copy_row)
        return {eps: n + n_copies for eps, n in zip(grid, counts.tolist(), strict=True)}

    def removals(self, eps: float) -> Iterator[pa.Table]:
        """Who is removed at cosine >= 1 - `eps`, and for whom: `duplicate_groups`.

        A table a shard that has any, in order of arrival; rows in the order of the tar.
        """
        return self.resolve(eps).tables()

    def resolve(self, eps: float) -> Removals:
        """The same, with counts."""
        from curator_assets.kernels.resolution import (
            greedy_links,
            removed_greedily,
            semdedup_links,
            verdicts,
        )

        graph = self._graph(eps)
        if self._is_greedy:
            links = greedy_links(graph, removed_greedily(graph))
        else:
            links = semdedup_links(graph)
        found = verdicts(graph, links, copies_follow=self._is_greedy)
        return Removals(self._stored, self._nodes, found)

    def _graph(self, eps: float) -> "Graph":
        """The near-duplicates at an eps.

        Raises:
            ValueError: it is above that which was foreseen.
        """
        from curator_assets.kernels.resolution import Graph

        if eps > self._max_eps:
            raise ValueError(f"eps {eps:g} is above {self._max_eps:g}, up to which pairs are read")
        stored, nodes, pools = self._stored, self._nodes, None
        dense = stored.dense if self._is_greedy else stored.dense.residents()
        if len(dense.row):
            # imports torch, which few resolutions need
            from curator_assets.kernels.dense import DensePools
            from curator_assets.kernels.device import resolve_device

            device = resolve_device(self._settings.device_here)
            pools = DensePools(dense, nodes.node, stored.vectors, min_cosine=1 - eps, device=device)
        return Graph(nodes, self._edges, 1 - eps, pools, stored.scratch.open)

    @cached_property
    def _edges(self) -> "SortedRuns":
        """Every pair of nodes at or above the lowest cosine, by the earlier node."""
        from curator_assets.kernels.edges import edges_of_pairs
        from curator_assets.kernels.sorted_runs import SortedRuns

        edges = SortedRuns("first", self._stored.scratch.open)
        for pairs in self._stored.pairs():
            near = pairs.cosine >= np.float32(1 - self._max_eps)
            if not self._is_greedy:
                near &= self._stored.homes[pairs.a] == self._stored.homes[pairs.b]
            a, b, cosine = pairs.a[near], pairs.b[near], pairs.cosine[near]
            edges.append(edges_of_pairs(self._nodes, a, b, cosine))
        return edges

    @property
    def _nodes(self) -> "Nodes":
        return self._numbered[0]

    @cached_property
    def _numbered(self) -> "tuple[Nodes, int]":
        """The nodes of the images, and how many images take part."""
        from curator_assets.kernels.nodes import Nodes

        stored, settings = self._stored, self._settings
        stored.require_room(settings)
        place, order = places(stored, settings)
        n_taking_part = int(np.count_nonzero(place < len(place)))
        if self._is_greedy:
            copies = [stored.same_vectors, stored.same_bytes(settings)]
        else:
            first, other = stored.same_vectors
            at_home = stored.homes[first] == stored.homes[other]
            copies = [(first[at_home], other[at_home])]
        return Nodes.of(place, order, copies), n_taking_part
