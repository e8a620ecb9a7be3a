"""Supervised recall in the ballet task: the place of the dance that is named."""

from dataclasses import dataclass

import torch
from torch import Tensor

from tasks.games.ballet import OBS_PARTS
from tasks.games.dances import PLACES, Program, question_step
from tasks.observations import ObsPart
from tasks.sequence.base import SequenceTask
from tasks.task import Discrete


@dataclass(frozen=True)
class BalletRecall(SequenceTask):
    """Supervised form of `Ballet`: when a dance is named, the answer is the direction of its dancer.

    Observations and actions are those of `Ballet`, in which the right answer is also the right move; an episode ends
    with it.

    Args:
        dances: the number of dancers, from 1 to 8; 2, 4 and 8 in the paper.
        delay: steps from the last move of a dance to the first of the next; 16 and 48 in the paper.

    Raises:
        ValueError: a number of dances or a delay that is out of range.

    Source: Lampinen et al. 2021 (arXiv:2105.14039), section 4.1.
    """

    dances: int = 2
    delay: int = 16

    def __post_init__(self) -> None:
        self._set_steps(question_step(self.dances, self.delay) + 1)

    @property
    def obs_size(self) -> int:
        return sum(part.size for part in OBS_PARTS)

    @property
    def obs_parts(self) -> tuple[ObsPart, ...]:
        return OBS_PARTS

    @property
    def action_space(self) -> Discrete:
        return Discrete(PLACES)

    def _sample(self, batch: int, rng: torch.Generator) -> tuple[Tensor, Tensor]:
        program = Program.sample(batch, self.dances, rng)
        t = torch.arange(self.steps, device=rng.device).expand(batch, -1)
        seen = program.observe(t, self.delay).to(self.dtype)
        targets = torch.where(t == self.steps - 1, program.target_place.unsqueeze(1), -1)
        return torch.cat([seen, seen.new_zeros(batch, self.steps, 2)], -1), targets

    def _reference_accuracy(self) -> dict[str, float]:
        return {"any dancer": 1 / self.dances, "chance": 1 / PLACES}
