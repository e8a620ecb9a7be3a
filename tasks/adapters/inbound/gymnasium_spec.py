"""Lookup, construction and description of an environment of Gymnasium."""

from collections.abc import Callable, Mapping
from copy import deepcopy
from functools import partial
from typing import Any, NamedTuple

from tasks.adapters.inbound.checked_env import EnvFactory
from tasks.adapters.inbound.spaces.actions import ActionCodec
from tasks.adapters.inbound.spaces.observations import ACTION_MASK_KEY, ObservationCodec
from tasks.adapters.named_imports import env_maker
from tasks.adapters.optional_imports import import_env_module, require_gymnasium


class EnvDescription(NamedTuple):
    """Description of an environment, from one copy and its spec.

    Args:
        name: the id of the environment.
        max_episode_steps: the smallest of its time limits, if it has one.
        reward_threshold: the return at which it counts as solved, if it is defined.
        observations: the conversion of observations.
        actions: the conversion of actions.
        info_mask: whether the info of each step has an action mask.
    """

    name: str
    max_episode_steps: int | None
    reward_threshold: float | None
    observations: ObservationCodec
    actions: ActionCodec
    info_mask: bool


def env_factory(
    env: str | Callable[..., Any], options: Mapping[str, Any], steps: int, frame_stack: int = 1
) -> EnvFactory:
    """A factory of copies of an environment.

    Args:
        env: an id, a callable, or `module:function`.
        options: keyword arguments of the environment.
        steps: replaces the time limit of an id; 0: its own.
        frame_stack: the number of last observations that are stacked.

    Raises:
        ValueError: there is no such module or function, or a file has named it and it is not trusted.
    """
    factory = _factory(env, options, steps)
    return factory if frame_stack == 1 else partial(_make_stacked, factory, frame_stack)


def _factory(env: str | Callable[..., Any], options: Mapping[str, Any], steps: int) -> EnvFactory:
    if not isinstance(env, str):
        return partial(env, **options)
    function = _find_function(env)
    if function is not None:
        return partial(function, **options)
    return partial(_make, env, **options, **({"max_episode_steps": steps} if steps else {}))


def env_name(env: str | Callable[..., Any]) -> str:
    """The name of an environment before a copy is constructed: of a partial function its first argument, if text."""
    if isinstance(env, partial) and env.args and isinstance(env.args[0], str):
        return env.args[0]
    function = env.func if isinstance(env, partial) else env
    return function if isinstance(function, str) else getattr(function, "__name__", type(function).__name__)


def _find_function(env: str) -> Callable[..., Any] | None:
    """The function of `module:function`; None for an id of gymnasium, which may have the form `module:id`."""
    module, colon, name = env.partition(":")
    if not colon:
        return None
    imported = import_env_module(module, env)
    if not name.isidentifier():
        return None
    function = env_maker(imported, [name], env)
    if function is None:
        raise ValueError(f"env={env!r}: module {module} has no function {name}, want one that returns an environment")
    return function


def _make(env: str, **options: Any) -> Any:
    return require_gymnasium().make(env, **options)


def _make_stacked(factory: EnvFactory, frames: int) -> Any:
    """A copy that observes its last frames; at the start of an episode all are the first. An action mask is the last.

    Frames are copies, as an environment may overwrite the arrays that it returned.
    """
    gym, env = require_gymnasium(), factory()
    transform, space = gym.wrappers.TransformObservation, env.observation_space
    copied = transform(env, deepcopy, space)
    stacked = gym.wrappers.FrameStackObservation(copied, frames, padding_type="reset")
    if not isinstance(space, gym.spaces.Dict) or ACTION_MASK_KEY not in space.spaces:
        return stacked
    masks = stacked.observation_space[ACTION_MASK_KEY]

    def with_last_mask(obs: dict[str, Any]) -> dict[str, Any]:
        return {**obs, ACTION_MASK_KEY: list(gym.vector.utils.iterate(masks, obs[ACTION_MASK_KEY]))[-1]}

    parts = {**stacked.observation_space.spaces, ACTION_MASK_KEY: space[ACTION_MASK_KEY]}
    return transform(stacked, with_last_mask, gym.spaces.Dict(parts))


def probe_env(factory: EnvFactory, name: str, render_mode: str | None) -> EnvDescription:
    """Constructs one copy, describes it and closes it.

    Args:
        factory: returns a copy.
        name: the name of the environment, if it has no spec.
        render_mode: the requested render mode, or None.

    Raises:
        ValueError: the environment cannot be constructed, is not a `gymnasium.Env`, does not have the render mode, or
            has unsupported spaces.
    """
    gym = require_gymnasium()
    try:
        env = factory()
    except (Exception, SystemExit) as error:  # code of others, which may end the process
        unknown = isinstance(error, gym.error.NameNotFound | gym.error.NamespaceNotFound) and ":" not in name
        advice = "; an id of another package is package:id, as minigrid:MiniGrid-Empty-5x5-v0" if unknown else ""
        advice = "; for Atari games see badger train atari" if unknown and name.startswith("ALE/") else advice
        raise ValueError(f"env={name!r} cannot be constructed: {type(error).__name__}: {error}{advice}") from error
    if not isinstance(env, gym.Env):
        raise ValueError(
            f"env={name!r} returned a {type(env).__name__}, want a single gymnasium.Env, of which the task makes as "
            "many copies as it needs"
        )
    for attribute in ("observation_space", "action_space"):
        if not isinstance(getattr(env, attribute, None), gym.Space):
            raise ValueError(
                f"env={name!r} has the {attribute} {getattr(env, attribute, None)}, want a gymnasium.Space"
            )
    modes = env.metadata.get("render_modes") or []
    if render_mode is not None and render_mode not in modes and render_mode.removesuffix("_list") not in modes:
        raise ValueError(f"render_mode={render_mode!r}, want one of {name}: {', '.join(modes) or 'none'}")
    spec = env.spec
    name = name if spec is None else spec.id
    try:
        observations, actions = ObservationCodec(env.observation_space, name), ActionCodec(env.action_space, name)
        info_mask = bool(actions.nvec) and not observations.has_mask and _has_info_mask(env)
        threshold = None if spec is None else spec.reward_threshold
        return EnvDescription(name, time_limit(env), threshold, observations, actions, info_mask)
    finally:
        env.close()


def time_limit(env: Any) -> int | None:
    """The smallest time limit of an environment and its wrappers, in steps; None if there is none.

    Args:
        env: of Gymnasium.
    """
    limits = [] if env.spec is None else [env.spec.max_episode_steps]
    while env is not None:
        limits.append(getattr(env, "__dict__", {}).get("_max_episode_steps"))  # of a TimeLimit
        env = getattr(env, "__dict__", {}).get("env")
    return min((int(limit) for limit in limits if limit is not None), default=None)


def _has_info_mask(env: Any) -> bool:
    """Whether the first info has an action mask. An error of reset is left to the first episode, which has a seed."""
    try:
        _, info = env.reset(seed=0)
        return ACTION_MASK_KEY in info
    except (Exception, SystemExit):
        return False
