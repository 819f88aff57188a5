import numpy as np
import torch

from curator_assets.kernels.products import exact_cosines, full_float32_products


def unit(rows):
    rows = np.asarray(rows, np.float32)
    return rows / np.linalg.norm(rows, axis=1, keepdims=True)


def test_cosines_do_not_depend_on_block_path_or_device(device):
    rng = np.random.default_rng(5)
    sides = [torch.from_numpy(unit(rng.normal(size=(n, 300)))) for n in (40, 50)]
    grid = torch.meshgrid(torch.arange(40), torch.arange(50), indexing="ij")
    on_cpu = exact_cosines(*sides, *(places.ravel() for places in grid))
    left, right = (side.to(device) for side in sides)
    row, column = (places.ravel().to(device) for places in grid)
    dense = exact_cosines(left, right, row, column)
    lone = [exact_cosines(left, right, row[k : k + 1], column[k : k + 1])[0] for k in range(2000)]
    swapped = exact_cosines(right, left, column, row)
    np.testing.assert_array_equal(dense, on_cpu)
    np.testing.assert_array_equal(dense, np.array(lone))
    np.testing.assert_array_equal(dense, swapped)


def test_cosines_in_the_middle_of_two_float32_numbers_are_summed_exactly(device):
    terms = [[1, 1, 0, 0], [1, 1, 1, 1], [1, 3, 0, 0], [1, 3, -1, -1]]
    left = torch.tensor(terms, dtype=torch.float32, device=device)
    right = torch.tensor([[2.0**-1, 2.0**-25, 2.0**-54, 2.0**-54]], device=device)
    row = torch.arange(4, device=device)
    found = exact_cosines(left, right, row, torch.zeros_like(row))
    step = 2.0**-24  # of float32 above one half; a float64 sum loses 2**-54 added to it twice
    assert found.tolist() == [0.5, 0.5 + step, 0.5 + 2 * step, 0.5 + step]


def test_products_are_summed_in_float32_whichever_switch_was_used():
    cublas = torch.backends.cuda.matmul
    before = cublas.fp32_precision
    cublas.fp32_precision = "tf32"  # get_float32_matmul_precision raises from here on
    try:
        with full_float32_products():
            assert torch.get_float32_matmul_precision() == "highest"
            assert not cublas.allow_tf32
            assert not cublas.allow_fp16_reduced_precision_reduction
            assert not cublas.allow_bf16_reduced_precision_reduction
        assert cublas.fp32_precision == "tf32"
        assert cublas.allow_fp16_reduced_precision_reduction
    finally:
        cublas.fp32_precision = before
