"""Worlds in which one expert must remember to act well, and learns it from reward by a learner of one's choice."""

import inspect
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, Literal

from badger import sense
from badger.learners import LEARNERS
from badger.learners.schedules import Decay
from badger.recipes.flags import recipe
from badger.recipes.memories import Memories
from badger.recipes.sequences import READER
from badger.recipes.settings import Setup
from badger.runs.run import Run
from comms import pick
from experts import GRU, LSTM, Core, Feedforward
from tasks import CardGame, CardLesson, Feedback, ProofOfMemory, Task, TMaze, TMazeLong

WORLD: dict[str, Any] = READER | {"memory": "none", "outer_steps": 2000, "key_size": 32, "lr": 2e-3}
SOON: dict[str, Any] = {"exploration": Decay(0.3, 0.02, 20_000), "sequences": 64, "updates": 2, "target_every": 50}
CONTROLLERS: dict[str, Callable[[int, int], Core]] = {"gru": GRU, "lstm": LSTM, "feedforward": Feedforward}
LEARNING: dict[str, dict[str, Any]] = {  # what differs from the learner's own defaults; found on a T-maze, see LOG
    "a2c": {"lam": 0.9, "entropy_weight": 0.03},
    "ppo": {"entropy_weight": 0.02},
    "drqn": SOON | {"n": 5, "double": True},
    "r2d2": SOON | {"eps": 1e-8},
}


@dataclass(frozen=True, kw_only=True)
class Acting:
    """Who learns by reward, and what it sees.

    Args:
        learner: by reward alone; `badger list` names all. Of a card game that is taught, there is no choice.
        entropy: weight of the policy's entropy, where there is one; 0.02, and of a2c 0.03, if not given.
        feedback: whether the last action, reward and end are seen, too.
        controller: of the memory, or all there is: gru, lstm, or feedforward, which remembers nothing.
        hidden_size: of the controller.
    """

    learner: str = "a2c"
    entropy: float | None = None
    feedback: bool = False
    controller: str = "gru"
    hidden_size: int = 64

    def run(self, setup: Setup, memories: Memories, task: Task, **learning: Any) -> Run:
        """learning: options of the learner, before those of `LEARNING`."""
        make = pick(LEARNERS, self.learner, "learner")
        learning = LEARNING.get(self.learner, {}) | learning
        if memories.auxiliary:
            learning["auxiliary"] = memories.auxiliary
        if self.entropy is not None:
            if "entropy_weight" not in inspect.signature(make).parameters:
                raise ValueError(f"entropy={self.entropy}: {make.__name__} weighs no entropy; leave it out")
            learning["entropy_weight"] = self.entropy
        if self.learner == "ppo":
            learning["horizon"] = task.steps  # whole episodes, where all are as long
        kind = pick(CONTROLLERS, self.controller, "controller")
        core = memories.core(lambda size: kind(size, self.hidden_size), setup.experts)
        senses = partial(sense.Scaled, power=0.0, scale=3.0)  # a cue of one would hardly move a gate
        return setup.run(Feedback(task) if self.feedback else task, core, senses=senses, learner=make, **learning)


@recipe(**WORLD)
def t_maze(
    setup: Setup,
    memories: Memories,
    acting: Acting,
    *,
    length: int = 20,
    penalty: float | None = None,
) -> Run:
    """One expert walks down a corridor and turns where the cue at its start said (Bakker 2001; Ni et al. 2023).

    Args:
        length: steps to the junction.
        penalty: for a step behind; 1 / length if not given.
    """
    return acting.run(setup, memories, TMaze(length, penalty))


@recipe(**WORLD | {"lr": 3e-3, "batch": 16, "outer_steps": 1000})
def t_maze_in_pieces(
    setup: Setup,
    memories: Memories,
    *,
    length: int = 20,
    train: int = 10,
    overlap: int = 5,
    burn_in: int = 10,
    stored: bool = True,
    measure_every: int = 10,
    hidden_size: int = 32,
) -> Run:
    """R2D2 in a T-maze whose sequences are shorter than its episodes, so that it matters what an agent is taken to know
    at their beginning; the metric `discrepancy` tells how far its Q values are off (Kapturowski et al. 2019, sec. 3.2).

    Args:
        length: steps to the junction.
        train: steps of a sequence that are learnt from.
        overlap: of these, shared with the next sequence.
        burn_in: steps before them that are only lived through again.
        stored: whether a sequence begins with what the agent knew then; or with nothing.
        measure_every: outer steps between two measurements of the discrepancy.
        hidden_size: of the GRU.
    """
    pieces: dict[str, Any] = {"updates": 4, "target_every": 25}
    pieces |= {"train": train, "overlap": overlap, "burn_in": burn_in, "stored": stored, "measure_every": measure_every}
    return Acting(learner="r2d2", hidden_size=hidden_size).run(setup, memories, TMaze(length), **pieces)


@recipe(**WORLD)
def t_maze_long(
    setup: Setup,
    memories: Memories,
    acting: Acting,
    *,
    length: int = 30,
    noise: bool = True,
) -> Run:
    """One expert is moved down a corridor, through noise, and turns where the cue at its start said (Beck et al. 2020).

    Args:
        length: steps to the end; 100 in the paper.
        noise: whether a random bit is seen in each step.
    """
    return acting.run(setup, memories, TMazeLong(length, noise))


@recipe(**WORLD)
def proof_of_memory(setup: Setup, memories: Memories, acting: Acting) -> Run:
    """One expert goes to the end of a line that was shown to be the good one (Pleines et al. 2023)."""
    return acting.run(setup, memories, ProofOfMemory())


@recipe(**WORLD | {"memory": "private"})
def card_game(
    setup: Setup,
    memories: Memories,
    acting: Acting,
    *,
    cards: int = 4,
    teacher: Literal["none", "expert", "own"] = "none",
) -> Run:
    """One expert turns cards, two at a time, to find pairs: by reward, or taught by a player who forgets nothing.

    Args:
        cards: how many.
        teacher: none: by reward; else the moves of a perfect player are learnt through logits: expert, in the games
            that it plays; own, in the games that the agent plays.
    """
    if teacher == "none":
        return acting.run(setup, memories, CardGame(cards))
    kinds = {"expert": False, "own": True}
    lesson = CardLesson(cards, own=pick(kinds, teacher, "teacher"))
    return replace(acting, learner="bptt", entropy=None).run(setup, memories, lesson)
