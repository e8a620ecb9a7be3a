"""Pathfinding: is there a path between two nodes of a graph whose links are shown one by one (Loynd et al. 2020)."""

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from tasks.observations import ObsPart
from tasks.sequence.base import SequenceTask
from tasks.task import Discrete, check_positive


@dataclass(frozen=True)
class Pathfinding(SequenceTask):
    """Pathfinding: after each new link of a growing directed tree, a question whether a path leads from A to B.

    Nodes are known by random patterns only, uniform in [-1, 1]^nodes. Odd steps show a link, [pattern of its start,
    pattern of its end, 0]: the new node is linked to or from a random older one, so that the links are a polytree. Even
    steps ask, [pattern of A, pattern of B, 1], for two nodes of those seen so far, and the agent answers 0 for no or 1
    for yes; both answers are equally likely. The nodes - 1 questions count equally.

    Args:
        nodes: the number of nodes, and of numbers in a pattern.

    Raises:
        ValueError: fewer than 2 nodes.

    Source: Loynd et al. 2020 (arXiv:1911.07141), section 4.1: 7 nodes.
    """

    nodes: int = 7

    score: ClassVar[str] = "accuracy"
    better: ClassVar[str] = "higher"

    def __post_init__(self) -> None:
        check_positive(nodes=self.nodes)
        if self.nodes < 2:
            raise ValueError(f"nodes={self.nodes}, want at least 2, which a link needs")
        self._set_steps(2 * (self.nodes - 1))

    @property
    def obs_size(self) -> int:
        return 2 * self.nodes + 1

    @property
    def obs_parts(self) -> tuple[ObsPart, ...]:
        return ObsPart("vector", (2 * self.nodes,)), ObsPart("one_hot", (1,))

    @property
    def action_space(self) -> Discrete:
        return Discrete(2)

    def _sample(self, batch: int, rng: torch.Generator) -> tuple[Tensor, Tensor]:
        device, n = rng.device, self.nodes
        pattern = 2 * torch.rand(batch, n, n, generator=rng, device=device, dtype=self.dtype) - 1
        paths = torch.eye(n, dtype=torch.bool, device=device).expand(batch, n, n)  # paths[a, b]; of length 0, too
        rows, inputs, targets = torch.arange(batch, device=device), [], []
        for new in range(1, n):
            old = torch.randint(new, (batch,), generator=rng, device=device)
            outward, yes = torch.rand(2, batch, generator=rng, device=device) < 0.5
            start, end = torch.where(outward, old, new), torch.where(outward, new, old)
            paths = paths | (paths[rows, :, start].unsqueeze(-1) & paths[rows, end].unsqueeze(1))
            # a random pair of different nodes seen so far, with or without a path; there is one of each
            asked = paths[:, : new + 1, : new + 1] == yes.view(-1, 1, 1)
            asked = asked & ~torch.eye(new + 1, dtype=torch.bool, device=device)
            draws = torch.rand(asked.shape, generator=rng, device=device)
            pair = torch.where(asked, draws, -1).flatten(1).argmax(-1)
            first, second = pair // (new + 1), pair % (new + 1)
            inputs += [self._row(pattern, rows, start, end, 0), self._row(pattern, rows, first, second, 1)]
            targets += [torch.full_like(pair, -1), yes.long()]
        return torch.stack(inputs, 1), torch.stack(targets, 1)

    def _row(self, pattern: Tensor, rows: Tensor, first: Tensor, second: Tensor, question: int) -> Tensor:
        flag = torch.full_like(pattern[:, 0, :1], question)
        return torch.cat([pattern[rows, first], pattern[rows, second], flag], -1)

    def _reference_accuracy(self) -> dict[str, float]:
        return {"chance": 0.5}
