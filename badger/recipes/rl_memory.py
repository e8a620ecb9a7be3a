"""Worlds in which one expert must remember to act well, and learns it from reward by a learner of one's choice."""

import inspect
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, Literal

from badger import sense
from badger.learners import LEARNERS
from badger.learners.schedules import LinearEpsilon
from badger.recipes.flags import recipe
from badger.recipes.memories import MemoryFlags
from badger.recipes.sequences import SINGLE_EXPERT_DEFAULTS
from badger.recipes.settings import Setup
from badger.runs.run import Run
from comms import get_by_name
from experts import GRU, LSTM, Core, Feedforward
from tasks import CardGame, CardGameImitation, PreviousActionReward, ProofOfMemory, Task, TMaze, TMazeLong

RL_DEFAULTS: dict[str, Any] = SINGLE_EXPERT_DEFAULTS | {
    "memory": "none",
    "outer_steps": 2000,
    "key_size": 32,
    "lr": 2e-3,
}
Q_LEARNING_DEFAULTS: dict[str, Any] = {
    "exploration": LinearEpsilon(0.3, 0.02, 20_000),
    "sequences": 64,
    "updates": 2,
    "target_every": 50,
}
CONTROLLERS: dict[str, Callable[[int, int], Core]] = {"gru": GRU, "lstm": LSTM, "feedforward": Feedforward}
LEARNER_DEFAULTS: dict[
    str, dict[str, Any]
] = {  # what differs from the learner's own defaults; found on a T-maze, see LOG
    "a2c": {"lam": 0.9, "entropy_weight": 0.03},
    "ppo": {"entropy_weight": 0.02},
    "drqn": Q_LEARNING_DEFAULTS | {"n": 5, "double": True},
    "r2d2": Q_LEARNING_DEFAULTS | {"eps": 1e-8},
}


@dataclass(frozen=True, kw_only=True)
class RLFlags:
    """Who learns by reward, and what it sees.

    Args:
        learner: by reward alone; `badger list` names all. Of a card game that is taught, there is no choice.
        entropy_weight: weight of the policy's entropy, where there is one; 0.02, and of a2c 0.03, if not given.
        observe_previous: whether the last action, reward and end are seen, too.
        controller: of the memory, or all there is: gru, lstm, or feedforward, which remembers nothing.
        hidden_size: of the controller.
    """

    learner: str = "a2c"
    entropy_weight: float | None = None
    observe_previous: bool = False
    controller: str = "gru"
    hidden_size: int = 64

    def make_run(self, setup: Setup, memories: MemoryFlags, task: Task, **learning: Any) -> Run:
        """learning: options of the learner, before those of `LEARNER_DEFAULTS`."""
        make = get_by_name(LEARNERS, self.learner, "learner")
        learning = LEARNER_DEFAULTS.get(self.learner, {}) | learning
        if memories.auxiliary_weights:
            learning["auxiliary"] = memories.auxiliary_weights
        if self.entropy_weight is not None:
            if "entropy_weight" not in inspect.signature(make).parameters:
                raise ValueError(
                    f"entropy_weight={self.entropy_weight}: {make.__name__} weighs no entropy; leave it out"
                )
            learning["entropy_weight"] = self.entropy_weight
        if self.learner == "ppo":
            learning["horizon"] = task.steps  # whole episodes, where all are as long
        kind = get_by_name(CONTROLLERS, self.controller, "controller")
        core = memories.core_factory(lambda size: kind(size, self.hidden_size), setup.experts)
        senses = partial(sense.Scaled, power=0.0, scale=3.0)  # a cue of one would hardly move a gate
        return setup.make_run(
            PreviousActionReward(task) if self.observe_previous else task,
            core,
            make_sense=senses,
            learner=make,
            **learning,
        )


@recipe(**RL_DEFAULTS)
def t_maze(
    setup: Setup,
    memories: MemoryFlags,
    acting: RLFlags,
    *,
    length: int = 20,
    penalty: float | None = None,
) -> Run:
    """One expert walks down a corridor and turns where the cue at its start said (Bakker 2001; Ni et al. 2023).

    Args:
        length: steps to the junction.
        penalty: for a step behind; 1 / length if not given.
    """
    return acting.make_run(setup, memories, TMaze(length, penalty))


@recipe(**RL_DEFAULTS | {"lr": 3e-3, "batch": 16, "outer_steps": 1000})
def t_maze_r2d2(
    setup: Setup,
    memories: MemoryFlags,
    *,
    length: int = 20,
    train_length: int = 10,
    overlap: int = 5,
    burn_in: int = 10,
    stored_state: bool = True,
    discrepancy_interval: int = 10,
    hidden_size: int = 32,
) -> Run:
    """R2D2 in a T-maze whose sequences are shorter than its episodes, so that it matters what an agent is taken to know
    at their beginning; the metric `discrepancy` tells how far its Q values are off (Kapturowski et al. 2019, sec. 3.2).

    Args:
        length: steps to the junction.
        train_length: steps of a sequence that are learnt from.
        overlap: of these, shared with the next sequence.
        burn_in: steps before them that are only lived through again.
        stored_state: whether a sequence begins with what the agent knew then; or with nothing.
        discrepancy_interval: outer steps between two measurements of the discrepancy.
        hidden_size: of the GRU.
    """
    pieces: dict[str, Any] = {"updates": 4, "target_every": 25}
    pieces |= {
        "train_length": train_length,
        "overlap": overlap,
        "burn_in": burn_in,
        "stored_state": stored_state,
        "discrepancy_interval": discrepancy_interval,
    }
    return RLFlags(learner="r2d2", hidden_size=hidden_size).make_run(setup, memories, TMaze(length), **pieces)


@recipe(**RL_DEFAULTS)
def t_maze_long(
    setup: Setup,
    memories: MemoryFlags,
    acting: RLFlags,
    *,
    length: int = 30,
    noise: bool = True,
) -> Run:
    """One expert is moved down a corridor, through noise, and turns where the cue at its start said (Beck et al. 2020).

    Args:
        length: steps to the end; 100 in the paper.
        noise: whether a random bit is seen in each step.
    """
    return acting.make_run(setup, memories, TMazeLong(length, noise))


@recipe(**RL_DEFAULTS)
def proof_of_memory(setup: Setup, memories: MemoryFlags, acting: RLFlags) -> Run:
    """One expert goes to the end of a line that was shown to be the good one (Pleines et al. 2023)."""
    return acting.make_run(setup, memories, ProofOfMemory())


@recipe(**RL_DEFAULTS | {"memory": "private"})
def card_game(
    setup: Setup,
    memories: MemoryFlags,
    acting: RLFlags,
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
        return acting.make_run(setup, memories, CardGame(cards))
    kinds = {"expert": False, "own": True}
    lesson = CardGameImitation(cards, dagger=get_by_name(kinds, teacher, "teacher"))
    return replace(acting, learner="bptt", entropy_weight=None).make_run(setup, memories, lesson)
