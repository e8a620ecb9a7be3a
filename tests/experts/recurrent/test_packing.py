"""Rows cut where they begin anew, and packed: worked out by hand."""

import torch

from experts.recurrent.packing import pieces

RESET = torch.tensor([[False, True], [False, False], [True, False], [False, True]])  # 4 steps of 2 rows


def test_the_longest_piece_comes_first_and_then_step_by_step():
    cut = pieces(RESET)
    # of row 1 steps 0-2; of row 0 steps 0-1 and 2-3; of row 1 step 3. A place is row * 4 + step
    assert cut.order.tolist() == [4, 0, 2, 7, 5, 1, 3, 6]
    assert cut.sizes.tolist() == [4, 3, 1]
    assert cut.row.tolist() == [1, 0, 0, 1]
    assert cut.last.tolist() == [2, 3]


def test_only_a_row_that_does_not_begin_at_once_goes_on():
    assert pieces(RESET).on.tolist() == [False, True, False, False]


def test_each_place_is_found_again():
    reset = torch.rand(9, 5, generator=torch.Generator().manual_seed(0)) < 0.4
    cut = pieces(reset)
    assert torch.equal(cut.order[cut.back], torch.arange(45)) and torch.equal(cut.back[cut.order], torch.arange(45))
    assert cut.sizes.sum() == 45 and len(cut.row) == (reset[1:].sum() + 5)
