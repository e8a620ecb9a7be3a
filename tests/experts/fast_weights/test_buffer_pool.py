"""Buffers are used again only after all that has their storage is gone."""

import torch

from experts.fast_weights.buffer_pool import BufferPool


def test_a_buffer_is_used_again_once_nothing_has_its_storage():
    pool, like = BufferPool(most=4), torch.zeros(2, 3)
    first = pool.empty_like(like)
    address, part = first.data_ptr(), first[1:]
    del first
    second = pool.empty_like(like)
    assert second.data_ptr() != address
    del part
    assert pool.empty_like(like).data_ptr() == address


def test_a_buffer_that_a_graph_has_saved_is_not_used_again():
    pool, w = BufferPool(most=4), torch.ones(2, 3, requires_grad=True)
    buffer = pool.empty_like(torch.zeros(2, 3)).fill_(2)
    loss = (buffer * w).sum()
    del buffer
    pool.empty_like(torch.zeros(2, 3)).fill_(7)
    loss.backward()
    assert (w.grad == 2).all()


def test_buffers_have_the_shape_and_dtype_asked_for_and_are_few():
    pool = BufferPool(most=4)
    for size in range(1, 8):
        for dtype in (torch.float32, torch.float64):
            x = torch.zeros(size, 2, dtype=dtype)
            assert pool.empty_like(x).shape == x.shape and pool.empty_like(x).dtype == dtype
    assert len(pool.buffers) <= 4
