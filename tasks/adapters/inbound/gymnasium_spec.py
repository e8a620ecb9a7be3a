"""Lookup, construction and description of an environment of Gymnasium."""

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any, NamedTuple

from tasks.adapters.inbound.checked_env import EnvFactory
from tasks.adapters.inbound.spaces import ActionAdapter, flat_size, make_action_adapter, numeric_mask
from tasks.adapters.named_imports import env_maker
from tasks.adapters.optional_imports import import_env_module, require_gymnasium


class EnvDescription(NamedTuple):
    """Description of an environment, from one copy and its spec.

    Args:
        name: the id of the environment.
        max_episode_steps: its time limit, if it has one.
        reward_threshold: the return at which it counts as solved, if it is defined.
        obs_size: the size of a flattened observation.
        numeric_obs: as in `Task`, of all numbers of an observation.
        action_adapter: the conversion of actions.
    """

    name: str
    max_episode_steps: int | None
    reward_threshold: float | None
    obs_size: int
    numeric_obs: tuple[bool, ...]
    action_adapter: ActionAdapter


def env_factory(env: str | Callable[..., Any], options: Mapping[str, Any], steps: int) -> EnvFactory:
    """A factory of copies of an environment.

    Args:
        env: an id, a callable, or `module:function`.
        options: keyword arguments of the environment.
        steps: replaces the time limit of an id; 0: its own.

    Raises:
        ValueError: there is no such module or function, or a file has named it and it is not trusted.
    """
    if not isinstance(env, str):
        return partial(env, **options)
    function = _find_function(env)
    if function is not None:
        return partial(function, **options)
    return partial(_make, env, **options, **({"max_episode_steps": steps} if steps else {}))


def env_name(env: str | Callable[..., Any]) -> str:
    """The name of an environment before a copy is constructed."""
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
        raise ValueError(f"env={name!r} cannot be constructed: {type(error).__name__}: {error}") from error
    if not isinstance(env, gym.Env):
        raise ValueError(
            f"env={name!r} returned a {type(env).__name__}, want a single gymnasium.Env, of which the task makes as "
            "many copies as it needs"
        )
    modes = env.metadata.get("render_modes") or []
    if render_mode is not None and render_mode not in modes and render_mode.removesuffix("_list") not in modes:
        raise ValueError(f"render_mode={render_mode!r}, want one of {name}: {', '.join(modes) or 'none'}")
    spec = env.spec
    limit, threshold = (None, None) if spec is None else (spec.max_episode_steps, spec.reward_threshold)
    name = name if spec is None else spec.id
    try:
        obs_size = flat_size(env.observation_space, name)
        numeric, actions = numeric_mask(env.observation_space), make_action_adapter(env.action_space, name)
        return EnvDescription(name, limit, threshold, obs_size, numeric, actions)
    finally:
        env.close()
