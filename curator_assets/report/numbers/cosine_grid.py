"""Every eps that a person would type, and the pairs counted between them.

Legend: *G eps of the grid, P pairs*.
"""

from __future__ import annotations

import numpy as np

from curator_assets.report.numbers.cosine_bands import Band

_SMALLEST = 1e-6


class CosineGrid:
    """The eps of three significant digits up to `max_eps`, and the edges of the bands.

    Cells lie between them: a cell holds the pairs that its eps removes and no smaller one does.

    Args:
        bands: of the settings; the last one ends at `max_eps`.

    Attributes:
        eps: float64 [G], ascending.
    """

    def __init__(self, bands: list[Band]) -> None:
        found = {band.eps_to for band in bands[1:]}
        start, largest = _SMALLEST, bands[-1].eps_to
        while start <= largest:
            steps = (float(f"{start * i / 100:.3g}") for i in range(100, 1000))
            found |= {eps for eps in steps if eps <= largest}
            start *= 10
        self.eps = np.array(sorted(found))
        self._least = np.float32(1 - self.eps)

    def cell_of(self, cosines: np.ndarray) -> np.ndarray:
        """int64 [P]: the cell of each pair; G for those beyond them all.

        Args:
            cosines: float32 [P].
        """
        found: np.ndarray = np.searchsorted(-self._least, -cosines.astype(np.float32), side="left")
        return found

    def counts(self, cosines: np.ndarray) -> np.ndarray:
        """int64 [G]: the pairs of each cell; those of cosine 1 are in none.

        Args:
            cosines: float32 [P].
        """
        cells = self.cell_of(cosines[cosines < 1])
        counts: np.ndarray = np.bincount(cells, minlength=len(self.eps) + 1)[: len(self.eps)]
        return counts
