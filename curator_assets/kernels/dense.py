"""The near-duplicates within dense pools, computed only when they are asked for.

Legend: N images, D embedding width, M memberships of pools, C members of one pool.

Where thousands of images lie within eps of each other, a list of their pairs would be quadratic.
The search leaves such members of a cell as a pool (``DenseMembers``). Greedy resolution needs the
neighbours of kept images only, and few images of a clump are kept, so they are computed from the
vectors, a block of images at a time, with the decisions and cosines that stored pairs would give:
a float32 product proposes, and what lies within its error bound of the threshold is confirmed.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from curator_assets.kernels.cell_group import Vectors
from curator_assets.kernels.edges import Edges, joined, strongest
from curator_assets.kernels.found_pairs import DenseMembers
from curator_assets.kernels.products import (
    exact_cosines,
    float32_product_error,
    full_float32_products,
)

_FIRST_ROWS = 16
_TILE_ROWS = 256
_TILE_COLUMNS = 8192
_BLOCK_BYTES = 2**25
_ALL_BLOCKS_BYTES = 2**30


class DensePools:
    """The near-duplicates that no list holds, between nodes numbered by priority.

    Members are ordered by (pool, node), so the later ones of a pool follow a member.

    Args:
        members: of the pools, by row.
        node: integer [N], the node of each row; N for a row that takes no part.
        vectors: float32 [n, D] of int64 [n] rows, unit L2 norm; asked for at most 8,192 at a time.
        min_cosine: 1 - eps, compared as float32.
        device: torch device of the products; does not change the result.

    Attributes:
        node: int64 [M], nodes of the members that take part.
    """

    def __init__(
        self,
        members: DenseMembers,
        node: NDArray[np.integer],
        vectors: Vectors,
        *,
        min_cosine: float,
        device: str,
    ) -> None:
        live = np.flatnonzero(node[members.row] < len(node))
        order = live[np.lexsort((members.row[live], node[members.row[live]], members.cell[live]))]
        self.row, self.resident = members.row[order], members.resident[order]
        self.node = node[self.row].astype(np.int64)
        starts = np.flatnonzero(np.diff(members.cell[order], prepend=-1))
        self._bounds = np.append(starts, len(order))
        self._vectors, self._device = vectors, device
        self._min_cosine = min_cosine
        self._blocks: dict[int, _Block] = {}

    def by_priority(self) -> Iterator[tuple[int, int]]:
        """Each membership and its node, by node."""
        order = np.argsort(self.node, kind="stable")
        return zip(order.tolist(), self.node[order].tolist(), strict=True)

    def later_neighbours(self, member: int, removed: NDArray[np.uint8]) -> NDArray[np.int64]:
        """Nodes that a kept member removes: its later near-duplicates in this pool.

        Args:
            member: which of the memberships; within a pool to be asked in ascending order.
            removed: [n_nodes], not 0 for nodes that are removed by now and need not be named.

        Returns:
            int64, nodes; maybe some that were removed since a block of members was compared.
        """
        pool = int(np.searchsorted(self._bounds, member, side="right")) - 1
        block = self._blocks.get(pool)
        if block is None or member > block.sources[-1]:
            n_before = 0 if block is None else len(block.sources)
            block = self._compare(member, int(self._bounds[pool + 1]), removed, n_before)
            self._blocks[pool] = block
        verdict = block.verdict[np.searchsorted(block.sources, member)]
        unsure = block.members[verdict == 1]
        near = np.concatenate([block.members[verdict == 2], self._confirm(member, unsure)])
        return np.asarray(self.node[near])

    def strongest_links(self, is_source: NDArray[np.bool_], is_target: NDArray[np.bool_]) -> Edges:
        """For each target its near-duplicate of highest cosine among the earlier sources.

        Args:
            is_source: bool [M].
            is_target: bool [M].

        Returns:
            Nodes int64 (source, target) and float32 cosine of at most one link a target, ties to
            the earlier source; no link of a node with itself.
        """
        links = []
        for start, end in zip(self._bounds[:-1], self._bounds[1:], strict=True):
            sources = start + np.flatnonzero(is_source[start:end])
            targets = start + np.flatnonzero(is_target[start:end])
            for left in range(0, len(targets) * bool(len(sources)), _TILE_COLUMNS):
                links.append(self._links_to(targets[left : left + _TILE_COLUMNS], sources))
        return joined(*links)

    def _links_to(self, targets: NDArray[np.int64], sources: NDArray[np.int64]) -> Edges:
        """``strongest_links`` of one column of tiles, a tile of sources at a time."""
        columns = self._fetch(targets)
        error = float32_product_error(columns.shape[1])
        top_product = torch.full((len(targets),), -torch.inf, device=self._device)
        best = (np.full(len(targets), -1), np.full(len(targets), np.nan, np.float32))
        sources = sources[sources < targets[-1]]
        for top in range(0, len(sources), _TILE_ROWS):
            chunk = sources[top : top + _TILE_ROWS]
            rows = self._fetch(chunk)
            with full_float32_products():
                products = (rows @ columns.T).clamp_(max=1.0)
            products.masked_fill_(~self._may_link(chunk, targets), -torch.inf)
            top_product = torch.maximum(top_product, products.amax(dim=0))
            hopeful = products >= top_product - 2.0 * error
            hopeful &= products >= self._min_cosine - error
            row, column = hopeful.nonzero(as_tuple=True)
            cosine = exact_cosines(rows, columns, row, column)
            near = cosine >= np.float32(self._min_cosine)
            known = np.flatnonzero(best[0] >= 0)
            best = strongest(
                len(targets),
                np.concatenate([best[0][known], top + row.cpu().numpy()[near]]),
                np.concatenate([known, column.cpu().numpy()[near]]),
                np.concatenate([best[1][known], cosine[near]]),
            )
        linked = np.flatnonzero(best[0] >= 0)
        return self.node[sources[best[0][linked]]], self.node[targets[linked]], best[1][linked]

    def _compare(self, member: int, end: int, removed: NDArray[np.uint8], n_before: int) -> _Block:
        """The next members that live, from ``member`` on, against all that live from there on."""
        members = member + np.flatnonzero(removed[self.node[member:end]] == 0)
        share = min(_BLOCK_BYTES, _ALL_BLOCKS_BYTES // (len(self._bounds) - 1)) // len(members)
        n_rows = max(1, min(share, _TILE_ROWS, max(_FIRST_ROWS, 4 * n_before)))
        sources = members[:n_rows]
        rows = self._fetch(sources)
        error = float32_product_error(rows.shape[1])
        verdict = np.zeros((len(sources), len(members)), np.uint8)
        for left in range(0, len(members), _TILE_COLUMNS):
            chunk = members[left : left + _TILE_COLUMNS]
            with full_float32_products():
                products = rows @ self._fetch(chunk).T
            tile = (products >= self._min_cosine - error).to(torch.uint8)
            tile += products >= self._min_cosine + error
            tile *= self._may_link(sources, chunk)
            verdict[:, left : left + len(chunk)] = tile.cpu().numpy()
        return _Block(sources, members, verdict)

    def _may_link(self, sources: NDArray[np.int64], targets: NDArray[np.int64]) -> torch.Tensor:
        """Bool [sources, targets]: an earlier node with a later one, a resident among the two."""
        earlier = self.node[sources][:, None] < self.node[targets]
        earlier &= self.resident[sources][:, None] | self.resident[targets]
        return torch.from_numpy(earlier).to(self._device)

    def _confirm(self, member: int, others: NDArray[np.int64]) -> NDArray[np.int64]:
        """Those of ``others`` whose cosine with ``member`` reaches the threshold."""
        near = [others[:0]]
        for left in range(0, len(others), _TILE_COLUMNS):
            chunk = others[left : left + _TILE_COLUMNS]
            column = torch.arange(len(chunk), device=self._device)
            row = self._fetch(np.array([member]))
            cosine = exact_cosines(row, self._fetch(chunk), torch.zeros_like(column), column)
            near.append(chunk[cosine >= np.float32(self._min_cosine)])
        return np.concatenate(near)

    def _fetch(self, members: NDArray[np.int64]) -> torch.Tensor:
        rows = np.ascontiguousarray(self._vectors(self.row[members]), dtype=np.float32)
        return torch.from_numpy(rows).to(self._device)


@dataclass(frozen=True)
class _Block:
    """Some members of a pool against the live ones from the first of them on."""

    sources: NDArray[np.int64]  # members, ascending
    members: NDArray[np.int64]  # members, ascending
    verdict: NDArray[np.uint8]  # [sources, members]: 0 apart, 1 to be confirmed, 2 near
