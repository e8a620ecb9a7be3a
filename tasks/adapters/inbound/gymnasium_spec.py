"""An environment of Gymnasium: where to find it, how copies are made, and what one of them tells of all."""

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any, NamedTuple

from tasks.adapters.inbound.checked_env import EnvFactory
from tasks.adapters.inbound.spaces import ActionAdapter, flat_size, make_action_adapter
from tasks.adapters.optional_imports import import_env_module, require_gymnasium


class EnvDescription(NamedTuple):
    """limit: steps of an episode, and threshold: the reward at which it is solved, where its authors say."""

    name: str
    max_episode_steps: int | None
    reward_threshold: float | None
    obs_size: int
    action_adapter: ActionAdapter


def env_factory(env: str | Callable[..., Any], options: Mapping[str, Any], steps: int) -> EnvFactory:
    """Of an id, of a callable, or of a `module:function`. steps: of an id, another limit than its own; 0: its own.

    Raises:
        ValueError: there is no such module or function.
    """
    if not isinstance(env, str):
        return partial(env, **options)
    own = _own(env)
    if own is not None:
        return partial(own, **options)
    return partial(_make, env, **options, **({"max_episode_steps": steps} if steps else {}))


def env_name(env: str | Callable[..., Any]) -> str:
    """The name of an environment as long as it has not been made."""
    made = env.func if isinstance(env, partial) else env
    return made if isinstance(made, str) else getattr(made, "__name__", type(made).__name__)


def _own(env: str) -> Callable[..., Any] | None:
    """What `module:function` names; None for an id of gymnasium, which may name a module to import first, too."""
    module, _, name = env.partition(":")
    if not name.isidentifier():
        return None
    found = getattr(import_env_module(module, env), name, None)
    if not callable(found):
        raise ValueError(f"env={env!r}: module {module} has no function {name} that makes an environment")
    return found


def _make(env: str, **options: Any) -> Any:
    return require_gymnasium().make(env, **options)


def probe_env(factory: EnvFactory, name: str, mode: str | None) -> EnvDescription:
    """What one copy, made and closed again, tells. mode: the render mode that was asked for.

    Raises:
        ValueError: it cannot be made, is none of Gymnasium, does not have that render mode, or has spaces that no agent
            fits.
    """
    gym = require_gymnasium()
    try:
        env = factory()
    except Exception as error:
        raise ValueError(f"env={name!r} cannot be made: {type(error).__name__}: {error}") from error
    if not isinstance(env, gym.Env):
        raise ValueError(
            f"env={name!r} made a {type(env).__name__}, want a gymnasium.Env: a factory of one copy, of which the task "
            "makes as many as it needs"
        )
    modes = env.metadata.get("render_modes") or []
    if mode is not None and mode not in modes and mode.removesuffix("_list") not in modes:
        raise ValueError(f"render_mode={mode!r} is not there: {name} has {', '.join(modes) or 'none'}")
    spec = env.spec
    limit, threshold = (None, None) if spec is None else (spec.max_episode_steps, spec.reward_threshold)
    name = name if spec is None else spec.id
    try:
        return EnvDescription(
            name, limit, threshold, flat_size(env.observation_space, name), make_action_adapter(env.action_space, name)
        )
    finally:
        env.close()
