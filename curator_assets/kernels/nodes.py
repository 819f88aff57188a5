"""Images numbered by priority: those with identical vectors or bytes are one node.

Legend: N images, C of them that have a copy, n of some.

A node's number is the place in the order of its best image that takes part, so "earlier" is
"smaller" throughout.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from curator_assets.kernels.copies import Copies, identity_classes

Numbers = NDArray[np.integer]
"""Of rows or nodes, of the type of `row_type`."""

_MAX_NARROW = 2**32 - 1


def row_type(n_rows: int) -> np.dtype[np.integer]:
    """What holds row numbers, and N itself: 4 bytes as long as they do."""
    return np.dtype(np.uint32 if n_rows <= _MAX_NARROW else np.int64)


@dataclass(frozen=True)
class Nodes:
    """The node of each image, and the image that each node stands for.

    Attributes:
        node: [N], N for images that take no part and have no copy that does.
        order: row of each node's best image; None where a node has its number.
        copy_row: [C], images that take part, but are not the best of their node.
        copy_node: [C], ascending.
    """

    node: Numbers
    order: Numbers | None
    copy_row: Numbers
    copy_node: Numbers

    @classmethod
    def of(cls, node: Numbers, order: Numbers | None, copies: Sequence[Copies]) -> Nodes:
        """Images whose copies become one node.

        Args:
            node: [N], the place of each image in the order, N if it takes no part; it is changed.
            order: rows of those that take part, by place; None where place and row are the same.
            copies: of some kinds.
        """
        rows, label = identity_classes(copies)
        own, nobody = node[rows], len(node)
        best = np.full(len(rows), nobody, node.dtype)
        np.minimum.at(best, label, own)
        best = best[label]
        node[rows] = best
        is_copy = (own < nobody) & (own != best)
        by_node = np.argsort(best[is_copy], kind="stable")
        return cls(node, order, rows[is_copy][by_node], best[is_copy][by_node])

    @property
    def n_nodes(self) -> int:
        """Nodes are below it."""
        return len(self.node) if self.order is None else len(self.order)

    def rows(self, nodes: Numbers) -> Numbers:
        """The images that nodes stand for, [n] of [n]."""
        return nodes if self.order is None else self.order[nodes]

    def stand(self, rows: Numbers) -> NDArray[np.bool_]:
        """Whether nodes stand for these images: bool [n] of [n]."""
        node, stands = self.node[rows], np.zeros(len(rows), np.bool_)
        takes_part = np.flatnonzero(node < len(self.node))
        stands[takes_part] = self.rows(node[takes_part]) == rows[takes_part]
        return stands
