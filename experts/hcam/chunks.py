"""Chunks of the steps of an episode: where they are in a sequence of rows, and which of them each step may read.

A chunk is C steps of one episode, the first C, the next C, and so on. It is written when it is complete: later steps
may read it. Each row of a sequence has a number, that of its step within its episode; rows of earlier episodes and
rows that were never written have numbers below 0, or lie before the start of the episode of those that read.

Shapes: B episode, N members, M rows before the sequence, T its steps, R rows, P chunk, C step of a chunk, W width.
"""

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from experts.torch_internals import host_readable


def step_numbers(
    written: Int[Tensor, "B N"], before: int, steps: int, reset: Bool[Tensor, "T B"] | None = None
) -> Int[Tensor, "B N R"]:
    """The number of each row within its episode: M rows before a sequence, and its T steps.

    Args:
        written: steps of the present episode before the sequence.
        before: M.
        steps: T.
        reset: episodes that begin at a step; None: none.
    """
    position = torch.arange(-before, steps, device=written.device)
    number = written.unsqueeze(-1) + position
    if reset is None:
        return number
    now = position[before:]
    began = torch.where(reset.t(), now, -1).cummax(-1).values.unsqueeze(1)  # (B, 1, T)
    return torch.cat([number[..., :before], torch.where(began < 0, number[..., before:], now - began)], -1)


def split_chunks(
    rows: Float[Tensor, "B N R W"], number: Int[Tensor, "B N R"], size: int
) -> tuple[Float[Tensor, "B N P C W"], Int[Tensor, "B N P"]]:
    """The complete chunks among some rows, newest first, and the row of the last step of each, -1 for no chunk.

    P is the number of chunks that some episode has, at least 1, where it can be read without a synchronization, so that
    no time is spent on a memory that is not full; else the number for which there are rows.

    Args:
        rows: in the order of time.
        number: of each row.
        size: C.
    """
    length = rows.shape[2]
    complete = (number >= 0) & (number % size == size - 1)
    last = torch.where(complete, torch.arange(length, device=rows.device), -1).topk(length // size).values
    if last.numel() and host_readable(last):
        last = last[..., : max(1, int((last >= 0).sum(-1).max()))]
    index = (last.unsqueeze(-1) + torch.arange(1 - size, 1, device=rows.device)).clamp(min=0).flatten(2)
    chunks = rows.gather(2, index.unsqueeze(-1).expand(-1, -1, -1, rows.shape[-1]))
    return chunks.unflatten(2, (-1, size)), last


def chunk_numbers(
    number: Int[Tensor, "B N T"], before: int, last: Int[Tensor, "B N P"], size: int, slots: int
) -> Int[Tensor, "B N T P"]:
    """The number of each chunk within the episode of each step, and -1 for a chunk that the step may not read.

    A step may read the newest chunks of its episode that were complete before it.

    Args:
        number: of each step.
        before: rows before the first step.
        last: row of the last step of each chunk.
        size: C.
        slots: how many of the newest chunks may be read.
    """
    complete = number // size  # chunks before each step
    row = before + torch.arange(number.shape[-1], device=number.device)
    newest = (row - 1 - number % size).unsqueeze(-1)  # row of the last step of the newest chunk
    age = torch.div(newest - last.unsqueeze(-2), size, rounding_mode="floor")  # (B, N, T, P)
    readable = (age >= 0) & (age < complete.clamp(max=slots).unsqueeze(-1))
    return torch.where(readable, complete.unsqueeze(-1) - 1 - age, -1)
