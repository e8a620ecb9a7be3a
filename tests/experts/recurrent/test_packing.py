"""Rows cut where they restart, and packed: worked out by hand."""

import torch

from experts.recurrent.packing import pack_at_resets

RESET = torch.tensor([[False, True], [False, False], [True, False], [False, True]])  # 4 steps of 2 rows


def test_the_longest_piece_comes_first_and_then_step_by_step():
    cut = pack_at_resets(RESET)
    # of row 1 steps 0-2; of row 0 steps 0-1 and 2-3; of row 1 step 3. A place is row * 4 + step
    assert cut.sorted_indices.tolist() == [4, 0, 2, 7, 5, 1, 3, 6]
    assert cut.batch_sizes.tolist() == [4, 3, 1]
    assert cut.row_index.tolist() == [1, 0, 0, 1]
    assert cut.last_piece.tolist() == [2, 3]


def test_only_a_row_that_does_not_begin_at_once_goes_on():
    assert pack_at_resets(RESET).continues.tolist() == [False, True, False, False]


def test_each_place_is_found_again():
    reset = torch.rand(9, 5, generator=torch.Generator().manual_seed(0)) < 0.4
    cut = pack_at_resets(reset)
    assert torch.equal(cut.sorted_indices[cut.unsorted_indices], torch.arange(45)) and torch.equal(
        cut.unsorted_indices[cut.sorted_indices], torch.arange(45)
    )
    assert cut.batch_sizes.sum() == 45 and len(cut.row_index) == (reset[1:].sum() + 5)
