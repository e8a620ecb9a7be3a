"""Worlds in which one expert must remember to act well, and learns it from reward by a learner of one's choice."""

import inspect
from functools import partial
from typing import Any, Literal

from badger.learners import LEARNERS
from badger.memories import Memories
from badger.recipes.sequences import READER
from badger.run import Run
from badger.setup import Setup, recipe
from comms import pick
from experts import GRU
from tasks import CardGame, CardLesson, Feedback, ProofOfMemory, Task, TMaze, TMazeLong

WORLD: dict[str, Any] = READER | {"memory": "none", "outer_steps": 2000, "key_size": 32}


@recipe(**WORLD)
def t_maze(
    setup: Setup,
    memories: Memories,
    *,
    length: int = 20,
    penalty: float | None = None,
    learner: str = "a2c",
    entropy: float | None = None,
    feedback: bool = False,
    hidden_size: int = 64,
) -> Run:
    """One expert walks down a corridor and turns where the cue at its start said (Bakker 2001; Ni et al. 2023).

    Args:
        length: steps to the junction.
        penalty: for a step behind; 1 / length if not given.
        learner: by reward alone; `badger list` names all.
        entropy: weight of the policy's entropy; the learner's own if not given.
        feedback: whether the last action, reward and end are seen, too.
        hidden_size: of the GRU.
    """
    return _acting(setup, memories, TMaze(length, penalty), learner, entropy, feedback, hidden_size)


@recipe(**WORLD)
def t_maze_long(
    setup: Setup,
    memories: Memories,
    *,
    length: int = 30,
    noise: bool = True,
    learner: str = "a2c",
    entropy: float | None = None,
    feedback: bool = False,
    hidden_size: int = 64,
) -> Run:
    """One expert is moved down a corridor, through noise, and turns where the cue at its start said (Beck et al. 2020).

    Args:
        length: steps to the end; 100 in the paper.
        noise: whether a random bit is seen in each step.
        learner: by reward alone; `badger list` names all.
        entropy: weight of the policy's entropy; the learner's own if not given.
        feedback: whether the last action, reward and end are seen, too.
        hidden_size: of the GRU.
    """
    return _acting(setup, memories, TMazeLong(length, noise), learner, entropy, feedback, hidden_size)


@recipe(**WORLD)
def proof_of_memory(
    setup: Setup,
    memories: Memories,
    *,
    learner: str = "a2c",
    entropy: float | None = None,
    feedback: bool = False,
    hidden_size: int = 64,
) -> Run:
    """One expert goes to the end of a line that was shown to be the good one (Pleines et al. 2023).

    Args:
        learner: by reward alone; `badger list` names all.
        entropy: weight of the policy's entropy; the learner's own if not given.
        feedback: whether the last action, reward and end are seen, too.
        hidden_size: of the GRU.
    """
    return _acting(setup, memories, ProofOfMemory(), learner, entropy, feedback, hidden_size)


@recipe(**WORLD | {"memory": "private"})
def card_game(
    setup: Setup,
    memories: Memories,
    *,
    cards: int = 4,
    teacher: Literal["none", "expert", "own"] = "none",
    learner: str = "a2c",
    entropy: float | None = None,
    feedback: bool = False,
    hidden_size: int = 64,
) -> Run:
    """One expert turns cards, two at a time, to find pairs: by reward, or taught by a player who forgets nothing.

    Args:
        cards: how many.
        teacher: none: by reward; else the moves of a perfect player are learnt through logits: expert, in the games
            that it plays; own, in the games that the agent plays.
        learner: by reward, where there is no teacher; `badger list` names all.
        entropy: weight of the policy's entropy; the learner's own if not given.
        feedback: whether the last action, reward and end are seen, too.
        hidden_size: of the GRU.
    """
    if teacher == "none":
        return _acting(setup, memories, CardGame(cards), learner, entropy, feedback, hidden_size)
    kinds = {"expert": False, "own": True}
    lesson = CardLesson(cards, own=pick(kinds, teacher, "teacher"))
    return _acting(setup, memories, lesson, "bptt", None, feedback, hidden_size)


def _acting(
    setup: Setup,
    memories: Memories,
    task: Task,
    learner: str,
    entropy: float | None,
    feedback: bool,
    hidden_size: int,
) -> Run:
    """What these flags do not say is as the learner has it."""
    make = pick(LEARNERS, learner, "learner")
    learning: dict[str, Any] = {"auxiliary": memories.auxiliary} if memories.auxiliary else {}
    if entropy is not None:
        if "entropy_weight" not in inspect.signature(make).parameters:
            raise ValueError(f"entropy={entropy}: {make.__name__} weighs no entropy; leave it out")
        learning["entropy_weight"] = entropy
    core = memories.core(partial(GRU, hidden_size=hidden_size), setup.experts)
    return setup.run(Feedback(task) if feedback else task, core, learner=make, **learning)
