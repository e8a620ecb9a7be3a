"""The recipe of Atari games, whose screens are preprocessed as in most publications."""

from functools import partial

from badger.recipes.external import EXTERNAL_DEFAULTS, LEARNER_DEFAULTS, ExternalEnvFlags
from badger.recipes.flags import recipe
from badger.recipes.settings import Setup
from badger.runs.run import Run
from tasks import Gymnasium, make_atari


@recipe({"learner": LEARNER_DEFAULTS}, **EXTERNAL_DEFAULTS | {"batch": 8, "sense": "nature"})
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
    return external.make_run(setup, task)
