from curator_assets.report.numbers.eps_curve import eps_grid, too_many


def test_too_many_dense_members_are_not_resolved_at_every_eps():
    assert too_many(20_000) is None
    assert "20,001 images lie in dense clumps" in too_many(20_001)


def test_the_grid_ascends_and_holds_the_chosen_eps_and_the_largest():
    grid = eps_grid(0.033, 0.06)
    assert grid == sorted(set(grid))
    assert (grid[0], grid[-1], len(grid)) == (0, 0.06, 14)
    assert 0.033 in grid
    assert eps_grid(0, 0) == [0]
