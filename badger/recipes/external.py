"""Worlds that are not ours, of which we know nothing beforehand: any of Gymnasium or PettingZoo."""

import json
from dataclasses import dataclass
from functools import partial
from typing import Any

from badger import sense
from badger.learners import A2C, PPO
from badger.recipes.flags import recipe
from badger.recipes.memories import MemoryFlags
from badger.recipes.sequences import SINGLE_EXPERT_DEFAULTS
from badger.recipes.settings import Setup
from badger.runs.run import Run
from comms import get_by_name
from experts import GRU
from tasks import Gymnasium, PettingZoo, Task


@dataclass(frozen=True, kw_only=True)
class ExternalEnvFlags:
    """How a world is stepped, and how one learns in it.

    Args:
        steps: after which an episode is truncated; 0: as the environment has it, if it has.
        num_workers: more than 1: workers that step the copies of the world.
        timeout: seconds that a step may take; needs workers.
        learner: ppo, which goes through what was played four times, in two minibatches; or a2c.
        obs_scale: by which observations are multiplied: a number of .1 or so hardly moves a gate at first.
        hidden_size: of the GRU.
        horizon: steps in an outer step, where episodes go on from one to the next. If not given: with ppo one more than
            the longest episode has, for the step that opens the next, and at most 128; with a2c whole episodes if
            they have at most 32 steps, else 32.
        sequence_length: of ppo, steps through which a gradient goes back; the horizon if not given.
        gamma: discount of a step.
        lam: of lambda-returns; 1: Monte-Carlo or n-step returns.
        reward_scale: of rewards before anything is learned from them, so that values are near 1.
        entropy_weight: of the bonus for undecided choices.
    """

    steps: int = 0
    num_workers: int = 1
    timeout: float | None = None
    learner: str = "ppo"
    obs_scale: float = 1.0
    hidden_size: int = 64
    horizon: int | None = None
    sequence_length: int | None = None
    gamma: float = 0.99
    lam: float = 0.95
    reward_scale: float = 1.0
    entropy_weight: float = 0.01

    @property
    def env_options(self) -> dict[str, Any]:
        """How it is stepped."""
        return {"steps": self.steps, "num_workers": self.num_workers, "timeout": self.timeout}

    def make_run(self, setup: Setup, memories: MemoryFlags, task: Task) -> Run:
        learners: dict[str, tuple[Any, dict[str, Any]]] = {
            "ppo": (PPO, {"horizon": min(task.steps + 1, 128), "minibatches": 2}),
            "a2c": (A2C, {"horizon": None if task.steps <= 32 else 32}),
        }
        learner, learning = get_by_name(learners, self.learner, "learner")
        learning |= {"gamma": self.gamma, "lam": self.lam, "entropy_weight": self.entropy_weight}
        learning |= {"reward_scale": self.reward_scale, "auxiliary_weights": memories.auxiliary_weights}
        if self.horizon is not None:
            learning["horizon"] = self.horizon
        if self.sequence_length is not None:
            if learner is not PPO:
                raise ValueError(
                    f"sequence_length={self.sequence_length}: only ppo goes through sequences again; leave it out"
                )
            learning["sequence"] = self.sequence_length
        core = memories.core_factory(partial(GRU, hidden_size=self.hidden_size), setup.experts)
        one = partial(sense.Scaled, power=0.0, scale=self.obs_scale)
        senses = one if task.agents is None else partial(sense.Team, scale=self.obs_scale)
        return setup.make_run(task, core, make_sense=senses, learner=learner, **learning)


@recipe(**SINGLE_EXPERT_DEFAULTS | {"batch": 16, "lr": 3e-3, "outer_steps": 2000, "memory": "none"})
def gymnasium(
    setup: Setup,
    memories: MemoryFlags,
    playing: ExternalEnvFlags,
    *,
    env: str = "CartPole-v1",
    options: str | None = None,
    mask_obs: tuple[int, ...] = (),
    mask_velocity: bool = False,
) -> Run:
    """Experts act in any environment of Gymnasium. A run that is resumed begins new episodes.

    Args:
        env: an id, as for gymnasium.make (package:id imports the package first), or a function that makes an
            environment, module:function.
        options: of the environment, in JSON, such as '{"render_mode": "rgb_array"}'.
        mask_obs: numbers of the flat observation that are hidden.
        mask_velocity: hide the velocities, where it is known which they are.
    """
    return playing.make_run(
        setup, memories, Gymnasium(env, _options(options), mask_obs, mask_velocity, **playing.env_options)
    )


@recipe(
    experts=0, batch=32, lr=1e-3, schedule="constant", outer_steps=2000, memory="none", steps=25, gamma=0.95,
)  # fmt: skip
def pettingzoo(
    setup: Setup,
    memories: MemoryFlags,
    playing: ExternalEnvFlags,
    *,
    env: str = "mpe2.simple_speaker_listener_v4",
    agent_indicator: bool = True,
) -> Run:
    """Teams of experts learn to play in any world of PettingZoo; over the bus they talk, unless it is silent. A run
    that is resumed begins new episodes.

    Args:
        env: a module with a parallel_env, as those of PettingZoo, or a function that makes a world, module:function.
        agent_indicator: each agent sees its number, too, so that one policy may have several roles.
    """
    task = PettingZoo(env=env, agent_indicator=agent_indicator, **playing.env_options)
    return playing.make_run(setup.with_default_experts(task), memories, task)


def _options(text: str | None) -> dict[str, Any]:
    try:
        options = json.loads(text or "{}")
    except json.JSONDecodeError as error:
        raise ValueError(f"options={text!r} is no JSON: {error}; write '{{\"name\": value}}'") from error
    if not isinstance(options, dict):
        raise ValueError(f"options={text!r}, want names and values in JSON, '{{\"name\": value}}'")
    return options
