from curator_assets.report.numbers.eps_curve import too_many


def test_too_many_pairs_or_dense_members_are_not_resolved_again():
    assert too_many(20_000_000, 20_000) is None
    assert "20,000,001 pairs are stored" in too_many(20_000_001, 0)
    assert "20,001 images lie in dense clumps" in too_many(0, 20_001)
