"""The members of a population that one process plays, in chunks.

Shapes: P members of the population, K = P / 2 pairs, M members of this process.
"""

from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor

from badger import distributed
from badger.learners.evolution.members import Members, Played, Running
from badger.learners.evolution.perturbations import Perturbations
from badger.learners.tensor_tree import tree_flatten, tree_unflatten


class Share:
    """The members that this process plays: K of a population are perturbed by sigma e, the others by - sigma e.

    Args:
        population: P, a multiple of the number of processes.
        chunk_size: members that play at once.
    """

    def __init__(self, population: int, chunk_size: int):
        self.population, self.size = population, population // distributed.world_size()
        self.first, self.chunk_size = distributed.rank() * self.size, chunk_size

    def play(
        self,
        members: Members,
        perturbations: Perturbations,
        sigma: float,
        running: Running | None,
        rng: torch.Generator,
        steps: int,
        *,
        last: bool,
    ) -> Played:
        """Plays some steps.

        Args:
            members: how members play.
            perturbations: of each parameter.
            sigma: by which they are multiplied.
            running: the episodes of this share to continue; None: new ones.
            rng: the generator of all random choices, the same for all members.
            steps: of the environment.
            last: the episodes are not continued.
        """
        pairs, parts = self.population // 2, []
        for start in range(0, self.size, self.chunk_size):
            chunk = slice(start, min(start + self.chunk_size, self.size))
            member = torch.arange(self.first + chunk.start, self.first + chunk.stop, device=rng.device)
            scale = torch.where(member < pairs, 1.0, -1.0).to(next(members.agent.parameters()).dtype) * sigma
            selected = None if running is None else running.select(chunk)
            parts.append(
                members.play(perturbations, member % pairs, scale, selected, rng.clone_state(), steps, last=last)
            )
        return _join(parts)

    def gather(self, values: Float[Tensor, "n M"]) -> Float[Tensor, "n P"]:
        """The values of the members of all processes.

        Args:
            values: of the members of this process.
        """
        gathered = values.new_zeros(len(values), self.population)
        gathered[:, self.first : self.first + self.size] = values
        distributed.all_reduce_mean_([gathered])
        return gathered * distributed.world_size()


def _join(parts: Sequence[Played]) -> Played:
    """What all members have played, from what those of each chunk have."""
    flat = [tree_flatten(part) for part in parts]
    return tree_unflatten(flat[0][0], [torch.cat(tensors) for tensors in zip(*(part[1] for part in flat), strict=True)])
