"""Games of the Arcade Learning Environment with the usual preprocessing, by Gymnasium's own wrapper."""

from typing import Any

from tasks.adapters.optional_imports import require_ale, require_gymnasium

FRAMES_PER_EPISODE = 108_000  # half an hour of a game, as in most publications


def make_atari(
    env: str = "ALE/Pong-v5",
    *,
    frame_skip: int = 4,
    noop_max: int = 30,
    screen_size: int = 84,
    grayscale: bool = True,
    repeat_action_probability: float = 0.0,
    full_action_space: bool = False,
    **options: Any,
) -> Any:
    """An Atari game that shows one gray image of 84 x 84 pixels after each 4 frames.

    An episode begins with up to 30 frames without action, and is truncated after 108,000 frames. The end of a life is
    not the end of an episode. Images are stacked by the task (`frame_stack` of `tasks.Gymnasium`).

    Args:
        env: an id of `ale_py`, such as "ALE/Breakout-v5".
        frame_skip: frames of a step, in which the action is repeated; the last two are pooled.
        noop_max: the largest number of frames without action at the start.
        screen_size: height and width of an image in pixels.
        grayscale: one channel instead of three.
        repeat_action_probability: that the game repeats the previous action instead of the new one ("sticky actions",
            0.25 in Machado et al. 2018).
        full_action_space: all 18 actions, also those without effect.
        options: other arguments of `gymnasium.make`.

    Raises:
        ValueError: sizes that the wrapper refuses.
        ModuleNotFoundError: ale_py or cv2 is not installed.

    Source: Mnih et al. 2015 (Nature 518, 529), Methods; Machado et al. 2018 (arXiv:1709.06009).
    """
    gym = require_gymnasium()
    gym.register_envs(require_ale())
    game = gym.make(
        env,
        frameskip=1,  # the wrapper skips
        repeat_action_probability=repeat_action_probability,
        full_action_space=full_action_space,
        max_episode_steps=-1,  # none: it would count frames
        **options,
    )
    return gym.wrappers.TimeLimit(
        gym.wrappers.AtariPreprocessing(
            game, noop_max=noop_max, frame_skip=frame_skip, screen_size=screen_size, grayscale_obs=grayscale
        ),
        FRAMES_PER_EPISODE // frame_skip,
    )
