"""Goals in hindsight: windows of recorded episodes that lead to a state which was visited later.

Shapes: B window, T step, G numbers of a goal.
"""

import torch
from jaxtyping import Float, Int
from torch import Tensor

from badger.learners.offline.windows import Windows, WindowSampler, balanced_weights

CANDIDATES = 16  # windows of which one is kept, for goals at all distances


class GoalSampler:
    """Draws windows with a goal: a state of the same episode, up to `steps` steps later.

    The window ends where the goal is visited for the first time, so that what follows leads there. Random walks seldom
    get far: goals are drawn from several candidates, such that each range of distances from start to goal is drawn
    equally often. Which starts and goals are drawn does not change which actions lead from one to the other.

    Args:
        windows: draws the starts.
        goal: the numbers of the observation that a goal names.
        edges: between the bins of each of these numbers; a goal is reached in the same bins.
        steps: the most steps from the start of a window to its goal.
        bins: ranges of distances; 0: all goals are drawn equally often.

    Source: goals in hindsight: Andrychowicz et al. 2017, "Hindsight experience replay" (arXiv:1707.01495).
    """

    def __init__(self, windows: WindowSampler, goal: list[int], edges: Float[Tensor, "G K1"], *, steps: int, bins: int):
        self.windows, self.goal, self.edges, self.steps, self.bins = windows, goal, edges, steps, bins

    def draw(self, batch: int, rng: torch.Generator) -> Windows:
        """Random windows with goals.

        Args:
            batch: their number B.
            rng: the generator, on the CPU.

        Raises:
            DamagedFile: as `WindowSampler.draw` does.
        """
        rows, start = self.windows.draw_starts(batch * (CANDIDATES if self.bins else 1), rng)
        final = torch.randint(1, self.steps + 1, start.shape, generator=rng)
        final = torch.minimum(final, self.windows.data.length[rows] - start)
        visited = self.windows.data.windows(rows, start, self.steps).obs[..., self.goal]
        reached = visited[torch.arange(len(final)), final]
        until = first_visit(visited, reached, self.edges)
        if self.bins:
            weights = balanced_weights((reached - visited[:, 0]).norm(dim=-1), self.bins)
            kept = torch.multinomial(weights, batch, generator=rng)
            rows, start, until, reached = (part[kept] for part in (rows, start, until, reached))
        return self.windows.read(rows, start)._replace(goal=reached, until=until)


def first_visit(
    visited: Float[Tensor, "B T1 G"], goal: Float[Tensor, "B G"], edges: Float[Tensor, "G K1"]
) -> Int[Tensor, " B"]:
    """How many steps after the start, and at least one, a goal is visited for the first time.

    Args:
        visited: the states from the start on, one of which is the goal.
        goal: the goal.
        edges: between the bins of each number.
    """
    bins, wanted = ((values.unsqueeze(-1) > edges).sum(-1) for values in (visited, goal))
    there = (bins == wanted.unsqueeze(1)).all(-1)
    return there[:, 1:].long().argmax(1) + 1
