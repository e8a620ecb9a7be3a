"""Recipes for external environments, of which nothing is known beforehand: any of Gymnasium or PettingZoo."""

import json
from dataclasses import dataclass
from typing import Any

from badger.recipes.flags import recipe
from badger.recipes.sequences import SINGLE_EXPERT_DEFAULTS
from badger.recipes.settings import Setup
from badger.runs.run import Run
from tasks import Gymnasium, PettingZoo, Task

EXTERNAL_DEFAULTS: dict[str, Any] = {
    "outer_steps": 2000, "learner": "ppo", "learner.gamma": 0.99, "learner.lam": 0.95, "learner.entropy_weight": 0.01,
}  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class ExternalEnvFlags:
    """How an external environment is stepped.

    Args:
        steps: environment steps after which an episode is truncated; 0: the environment's own limit, if it has one.
        num_workers: more than 1: worker processes that step the copies of the environment.
        timeout: seconds that a step may take; needs workers.
    """

    steps: int = 0
    num_workers: int = 1
    timeout: float | None = None

    @property
    def env_options(self) -> dict[str, Any]:
        """Keyword arguments of `tasks.Gymnasium` and `tasks.PettingZoo`."""
        return {"steps": self.steps, "num_workers": self.num_workers, "timeout": self.timeout}

    def make_run(self, setup: Setup, task: Task) -> Run:
        """A run on an external environment, whose episodes continue from one outer step to the next.

        The default horizon of ppo is the longest episode and one step more, for the reset, and at most 128; a2c trains
        on whole episodes of at most 32 steps, else on 32 steps.

        Args:
            setup: the agent and its learner.
            task: the environment.

        Raises:
            ValueError: as `Setup.make_run` does.
        """
        defaults: dict[str, dict[str, Any]] = {
            "ppo": {"horizon": min(task.steps + 1, 128), "minibatches": 2},
            "a2c": {"horizon": None if task.steps <= 32 else 32},
        }
        return setup.make_run(task, learner_defaults=defaults.get(setup.learner.name))


@recipe(**SINGLE_EXPERT_DEFAULTS | EXTERNAL_DEFAULTS | {"batch": 16, "lr": 3e-3, "sense": "auto", "sense.scale": 1.0})
def gymnasium(
    setup: Setup,
    external: ExternalEnvFlags,
    *,
    env: str = "CartPole-v1",
    options: str | None = None,
    mask_obs: tuple[int, ...] = (),
    mask_velocity: bool = False,
    frame_stack: int = 1,
) -> Run:
    """Experts act in any environment of Gymnasium. A resumed run begins new episodes.

    Args:
        env: an id, as for gymnasium.make (package:id imports the package first), or a function that makes an
            environment, module:function.
        options: keyword arguments of the environment in JSON, such as '{"render_mode": "rgb_array"}'.
        mask_obs: indices of the flat observation that are hidden.
        mask_velocity: hide the velocities, where their indices are known.
        frame_stack: observe so many last observations at once.
    """
    task = Gymnasium(env, _options(options), mask_obs, mask_velocity, frame_stack=frame_stack, **external.env_options)
    return external.make_run(setup, task)


@recipe(
    **EXTERNAL_DEFAULTS
    | {"experts": 0, "batch": 32, "lr": 1e-3, "schedule": "constant", "sense": "auto", "act": "team"}
    | {"learner.gamma": 0.95}
)
def pettingzoo(
    setup: Setup,
    external: ExternalEnvFlags,
    *,
    env: str = "mpe2.simple_speaker_listener_v4",
    agent_indicator: bool = True,
) -> Run:
    """Teams of experts act in any environment of PettingZoo and communicate over the bus.

    A resumed run begins new episodes.

    Args:
        env: a module with a parallel_env, as those of PettingZoo, or a function that makes an environment,
            module:function.
        agent_indicator: each agent observes its own index, too, so that one policy may have several roles.
    """
    task = PettingZoo(env=env, agent_indicator=agent_indicator, **external.env_options)
    return external.make_run(setup.with_default_experts(task), task)


def _options(text: str | None) -> dict[str, Any]:
    try:
        options = json.loads(text or "{}")
    except json.JSONDecodeError as error:
        raise ValueError(f"options={text!r} is no JSON: {error}; write '{{\"name\": value}}'") from error
    if not isinstance(options, dict):
        raise ValueError(f"options={text!r}, want names and values in JSON, '{{\"name\": value}}'")
    return options
