from curator_assets.engine.in_order import in_threads


def test_results_of_threads_come_in_order_and_few_ahead():
    started = []

    def work(item):
        started.append(item)
        return item * 2

    results = in_threads(work, range(100), n_threads=8)
    assert next(results) == 0
    assert len(started) <= 20
    assert list(results) == [item * 2 for item in range(1, 100)]
