"""Recipes in which one expert must remember in order to act, and learns from reward by a learner of one's choice."""

from dataclasses import dataclass, replace
from typing import Any, Literal

from badger.learners.schedules import LinearEpsilon
from badger.recipes.flags import recipe
from badger.recipes.parts import LEARNER
from badger.recipes.sequences import SINGLE_EXPERT_DEFAULTS
from badger.recipes.settings import Setup
from badger.runs.run import Run
from tasks import (
    Ballet,
    CardGame,
    CardGameImitation,
    Curriculum,
    IMaze,
    InputTape,
    IntOrRange,
    KeyToDoor,
    LoadUnload,
    MemoryTape,
    Mixture,
    Notes,
    PreviousActionReward,
    ProofOfMemory,
    Task,
    TMaze,
    TMazeLong,
    size_range,
)

RL_DEFAULTS: dict[str, Any] = SINGLE_EXPERT_DEFAULTS | {
    "outer_steps": 2000, "lr": 2e-3, "learner": "a2c", "core.key_size": 32, "core.value_size": 32, "core.width": 32,
    "core.slot_size": 32, "sense": "scaled", "sense.power": 0.0, "sense.scale": 3.0,  # a cue of 1 barely moves a gate
}  # fmt: skip
Q_LEARNING_DEFAULTS: dict[str, Any] = {
    "exploration": LinearEpsilon(0.3, 0.02, 20_000), "replay_batch": 64, "gradient_steps": 2,
    "target_update_interval": 50,
}  # fmt: skip


def learner_defaults(task: Task) -> dict[str, dict[str, Any]]:
    """Options by learner, other than the learner's own defaults; found on a T-maze (notebooks/LOG.md).

    Args:
        task: gives the horizon of ppo: whole episodes of a fixed length.
    """
    return {
        "a2c": {"lam": 0.9, "entropy_weight": 0.03},
        "ppo": {"entropy_weight": 0.02, "horizon": task.steps},
        "drqn": Q_LEARNING_DEFAULTS | {"n_steps": 5, "double_q": True},
        "r2d2": Q_LEARNING_DEFAULTS | {"eps": 1e-8},
    }


@dataclass(frozen=True, kw_only=True)
class RLFlags:
    """What the agent observes besides the task's observation.

    Args:
        observe_previous: whether the previous action, its reward and the end of the episode are observed, too.
    """

    observe_previous: bool = False

    def make_run(self, setup: Setup, task: Task) -> Run:
        """A run on the task, by the learner that the setup names.

        Args:
            setup: the agent and its learner.
            task: what is to be learned.

        Raises:
            ValueError: as `Setup.make_run` does.
        """
        defaults = learner_defaults(task).get(setup.learner.name)
        return setup.make_run(PreviousActionReward(task) if self.observe_previous else task, learner_defaults=defaults)


@recipe(**RL_DEFAULTS)
def t_maze(setup: Setup, rl: RLFlags, *, length: int = 20, penalty: float | None = None) -> Run:
    """One expert walks down a corridor and turns as the cue at its start showed (Bakker 2001; Ni et al. 2023).

    Args:
        length: steps to the junction.
        penalty: for a step behind schedule; default: 1 / length.
    """
    return rl.make_run(setup, TMaze(length, penalty))


@recipe(
    **RL_DEFAULTS
    | {"lr": 3e-3, "batch": 16, "outer_steps": 1000, "learner": "r2d2", "core.hidden_size": 32}
    | {"learner.train_length": 10, "learner.overlap": 5, "learner.burn_in": 10, "learner.discrepancy_interval": 10}
    | {"learner.gradient_steps": 4, "learner.target_update_interval": 25}
)
def t_maze_r2d2(setup: Setup, rl: RLFlags, *, length: int = 20) -> Run:
    """R2D2 in a T-maze with sequences shorter than its episodes, to compare initial states of replayed sequences.

    The metrics `initial_discrepancy` and `discrepancy` are the errors of the first and last Q values that a replayed
    sequence gets from its stored or zero initial state and its burn-in (Kapturowski et al. 2019, section 3).

    Args:
        length: steps to the junction.
    """
    return rl.make_run(setup, TMaze(length))


@recipe(**RL_DEFAULTS)
def t_maze_long(setup: Setup, rl: RLFlags, *, length: IntOrRange = 30, noise: bool = True) -> Run:
    """One expert is moved down a noisy corridor and turns as the cue at its start showed (Beck et al. 2020).

    Args:
        length: steps to the end; 100 in the paper; two numbers: a range, drawn for each episode.
        noise: whether a random bit is observed in each step.
    """
    return rl.make_run(setup, TMazeLong(length, noise))


@recipe(
    {"learner": {"ppo": {"entropy_weight": 0.02}}},
    **RL_DEFAULTS | {"core": "frmqn", "core.slots": 49, "learner": "ppo", "batch": 32, "lr": 1e-3, "outer_steps": 150},
)
def i_maze(setup: Setup, rl: RLFlags, *, length: IntOrRange = (5, 9)) -> Run:
    """One expert must look at an indicator, and remember it until it is between two goals (Oh et al. 2016).

    The window of the memory Q-networks (`--core mqn`, `rmqn` and `frmqn`) has room for episodes longer than those of
    training; rows that are not written yet are not read.

    Args:
        length: steps from the indicator to the goals; two numbers: a range, drawn for each episode.
    """
    return rl.make_run(setup, IMaze(length))


@recipe(**RL_DEFAULTS | {"learner": "ppo", "batch": 64, "core": "lstm"})
def key_to_door(setup: Setup, rl: RLFlags, *, side: int = 5, room_steps: int = 8, distractor_steps: int = 8) -> Run:
    """One expert takes a key in one room, which pays two rooms later at a door (Mesnard et al. 2021).

    Args:
        side: cells in a row and in a column of a room.
        room_steps: steps in the room of the key and in that of the door.
        distractor_steps: steps in the room between them.
    """
    return rl.make_run(setup, KeyToDoor(side, room_steps, distractor_steps))


@recipe(**RL_DEFAULTS)
def proof_of_memory(setup: Setup, rl: RLFlags) -> Run:
    """One expert goes to the end of a line that was shown to be the good one (Pleines et al. 2023)."""
    return rl.make_run(setup, ProofOfMemory())


@recipe(
    {
        "learner": {
            "ppo": {"horizon": 64, "gamma": 0.95, "epochs": 4, "minibatches": 4, "entropy_weight": 0.01},
            "a2c": {"horizon": 16, "gamma": 0.95, "lam": 0.9, "entropy_weight": 0.01},
        }
    },
    **RL_DEFAULTS
    | {"core": "feedforward", "learner": "ppo", "batch": 32, "outer_steps": 145, "lr": 3e-3, "schedule": "linear"},
)
def load_unload(setup: Setup, *, places: int = 5, notes: int = 1, real_notes: int = 0, steps: int = 200) -> Run:
    """One expert without memory carries goods along a line, and notes whether it is loaded (Peshkin et al. 1999).

    With the defaults 297,000 environment steps. The return is discounted by .95 a step.

    Args:
        places: on the line.
        notes: bits that each action keeps, sets or clears and each observation shows; 0: none.
        real_notes: numbers that each action adds to; 0: none.
        steps: length of an episode.
    """
    for name, count in {"notes": notes, "real_notes": real_notes}.items():
        if count < 0:
            raise ValueError(f"{name}={count}, want at least 0")
    task: Task = LoadUnload(steps, places)
    return setup.make_run(Notes(task, notes, real_notes) if notes or real_notes else task)


@recipe(
    **SINGLE_EXPERT_DEFAULTS
    | {"core": "feedforward", "learner": "reinforce", "batch": 256, "outer_steps": 1600, "lr": 5e-3}
    | {"schedule": "cooldown", "core.hidden_size": 64, "learner.entropy_weight": 0.03}
)
def input_tape(
    setup: Setup,
    *,
    length: IntOrRange = (1, 10),
    order: Literal["copy", "reverse"] = "reverse",
    symbols: int = 10,
    forward: bool = False,
    timed: bool = False,
    cells: int = 0,
    cell_size: int = 8,
    curriculum_steps: tuple[int, int] | None = None,
) -> Run:
    """One expert copies or reverses a tape whose head its actions move: an RL-NTM (Zaremba and Sutskever 2015).

    Args:
        length: symbols on the tape. A range: drawn for each outer step.
        order: in which they are to be output.
        symbols: number of different symbols.
        forward: the head of the input tape cannot move back.
        timed: outputs are written in the last steps, so that only moves are chosen.
        cells: of a memory tape with a head of its own; 0: none.
        cell_size: numbers in a cell of the memory tape.
        curriculum_steps: first and last outer step in which the drawn lengths widen from the lower end of the range to
            the whole range, and after which only the upper end is drawn; None: the whole range throughout.
    """
    if cells < 0:
        raise ValueError(f"cells={cells}, want at least 0")
    low, high = size_range(length=length)

    def tape(length: int) -> Task:
        task = InputTape(length, symbols, order, forward, timed)
        return MemoryTape(task, cells, cell_size) if cells else task

    tapes = [tape(size) for size in range(low, high + 1)]
    stages = [Mixture(tapes[stage::-1]) for stage in range(len(tapes))]  # of each the longest tape is the nominal one
    if len(tapes) == 1 or curriculum_steps is None:
        return setup.make_run(tapes[-1] if len(tapes) == 1 else stages[-1])
    first, last = curriculum_steps
    until = [first + stage * (last - first) // (high - low) for stage in range(len(stages))]
    return setup.make_run(Curriculum([*stages, tapes[-1]], until))


@recipe(
    {"learner": {"ppo": {"horizon": 64, "gamma": 0.95, "entropy_weight": 0.01}}},
    **RL_DEFAULTS
    | {"learner": "ppo", "batch": 64, "lr": 1e-3, "core": "hcam", "core.slots": 16, "core.chunk_size": 16}
    | {"core.heads": 2, "core.key_size": 64, "sense.scale": 1.0},
)
def ballet(setup: Setup, *, dances: int = 2, delay: int = 16) -> Run:
    """One expert watches dances, and goes to the dancer whose dance is named (Lampinen et al. 2021).

    The default memory keeps 256 steps, those of 8 dances with a delay of 16; longer ones need more `--core.slots`.

    Args:
        dances: number of dancers, from 1 to 8.
        delay: steps from a dance to the next; 16 and 48 in the paper.
    """
    return setup.make_run(Ballet(dances, delay))


@recipe(**RL_DEFAULTS | {"core": "episodic"})
def card_game(
    setup: Setup,
    rl: RLFlags,
    *,
    cards: int = 4,
    teacher: Literal["none", "demonstrations", "dagger"] = "none",
) -> Run:
    """One expert turns cards, two at a time, to find pairs: by reward, or by imitation of a player with perfect memory.

    Args:
        cards: number of cards.
        teacher: none: by reward; else the moves of a perfect player are learned through logits, by bptt:
            demonstrations, in the games that it plays; dagger, in the games that the agent plays.
    """
    if teacher == "none":
        return rl.make_run(setup, CardGame(cards))
    imitation = replace(setup, learner=LEARNER("bptt"))
    return rl.make_run(imitation, CardGameImitation(cards, dagger=teacher == "dagger"))
