"""Recipes of Atari games, with the preprocessing of most publications, and of their small versions, MinAtar."""

from functools import partial
from typing import Any, Literal

from badger.learners.schedules import LinearEpsilon
from badger.recipes.external import EXTERNAL_DEFAULTS, LEARNER_DEFAULTS, LEARNING_RATES, ExternalEnvFlags
from badger.recipes.flags import recipe
from badger.recipes.settings import Setup
from badger.runs.run import Run
from tasks import Gymnasium, make_atari

ATARI_DQN: dict[str, Any] = {
    "horizon": 4, "gamma": 0.99, "gradient_steps": 4, "replay_batch": 32, "n_steps": 1, "normalize_reward": False,
    "exploration": LinearEpsilon(1.0, 0.05, 50_000), "capacity": 40_000, "prefill": 5000,  # 2.3 GB of images
    "target_update_interval": 500,
}  # fmt: skip
ATARI_LEARNERS: dict[str, dict[str, Any]] = LEARNER_DEFAULTS | {"dqn": ATARI_DQN, "emdqn": ATARI_DQN}
ATARI_LEARNING_RATES = LEARNING_RATES | {"dqn": 2.5e-4, "emdqn": 2.5e-4}
MINATAR_LEARNERS: dict[str, dict[str, Any]] = LEARNER_DEFAULTS | {
    "dqn": {
        "horizon": 4, "gradient_steps": 16, "replay_batch": 32, "capacity": 100_000, "prefill": 5000,
        "target_update_interval": 1000, "exploration": LinearEpsilon(1.0, 0.1, 100_000),
    },
}  # fmt: skip


@recipe({"learner": ATARI_LEARNERS}, **EXTERNAL_DEFAULTS | {"batch": 8, "sense": "nature"})
def atari(
    setup: Setup,
    external: ExternalEnvFlags,
    *,
    env: str = "ALE/Pong-v5",
    frame_stack: int = 4,
    frame_skip: int = 4,
    sticky_actions: float = 0.0,
    full_action_space: bool = False,
) -> Run:
    """Experts play an Atari game by images of 84 x 84 gray pixels. It needs `pip install 'badger-agents[atari]'`.

    A resumed run begins new episodes.

    Args:
        env: an id of ale_py.
        frame_stack: observe so many last images at once.
        frame_skip: frames of a step, in which the action is repeated.
        sticky_actions: probability that the game repeats the previous action, 0.25 in Machado et al. 2018.
        full_action_space: all 18 actions, also those without effect.
    """
    make = partial(
        make_atari,
        env,
        frame_skip=frame_skip,
        repeat_action_probability=sticky_actions,
        full_action_space=full_action_space,
    )
    task = Gymnasium(make, frame_stack=frame_stack, **external.env_options)
    return external.make_run(setup, task, learning_rates=ATARI_LEARNING_RATES)


@recipe(
    {"learner": MINATAR_LEARNERS},
    **EXTERNAL_DEFAULTS
    | {"learner": "dqn", "core": "feedforward", "batch": 8, "lr": 2.5e-4, "schedule": "constant", "sense": "nature"}
    | {"sense.features": 128, "core.hidden_size": 128, "learner.normalize_reward": False},
)
def minatar(
    setup: Setup,
    external: ExternalEnvFlags,
    *,
    game: Literal["asterix", "breakout", "freeway", "seaquest", "space_invaders"] = "breakout",
    sticky_actions: float = 0.1,
    difficulty_ramping: bool = True,
    full_action_space: bool = False,
) -> Run:
    """One expert plays a game of MinAtar by its 10 x 10 grid. It needs `pip install minatar`.

    A resumed run begins new episodes. (Young and Tian 2019, arXiv:1903.03176.)

    Args:
        game: its name.
        sticky_actions: probability that the game repeats the previous action instead of the new one.
        difficulty_ramping: the game becomes faster while one plays.
        full_action_space: all 6 actions, also those without effect.
    """
    options = {
        "game": game,
        "sticky_action_prob": sticky_actions,
        "difficulty_ramping": difficulty_ramping,
        "use_minimal_action_set": not full_action_space,
    }
    task = Gymnasium("minatar.gym:BaseEnv", options, **external.env_options)
    return external.make_run(setup, task, default_total_steps=500_000)
