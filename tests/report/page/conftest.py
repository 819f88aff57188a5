import pytest

from curator_assets.report.numbers.trust import RecallFound, Trust


@pytest.fixture
def trust() -> Trust:
    """As it should be."""
    return Trust(
        search="exact",
        rule="greedy",
        n_removed=1234,
        n_without_kept=0,
        lowest_cosine=0.97104,
        recall=RecallFound(n_queries=2000, n_true=310, n_found=310),
        n_marked=120,
        n_marked_duplicate=117,
        low=0.929,
        high=0.9915,
        accounted=True,
    )
