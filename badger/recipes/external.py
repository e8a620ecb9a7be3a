"""Recipes for external environments, of which nothing is known beforehand: any of Gymnasium or PettingZoo."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from badger.learners.schedules import LinearEpsilon
from badger.recipes.flags import recipe
from badger.recipes.sequences import SINGLE_EXPERT_DEFAULTS
from badger.recipes.settings import Setup
from badger.runs.run import Run
from tasks import Gymnasium, PettingZoo, Task

TOTAL_STEPS = 200_000
EXTERNAL_DEFAULTS: dict[str, Any] = SINGLE_EXPERT_DEFAULTS | {
    "learner": "ppo", "batch": 16, "lr": None, "schedule": "linear", "outer_steps": None, "normalize_obs": True,
    "orthogonal_init": True, "action_std": "each", "core.hidden_size": 64, "learner.normalize_reward": True,
    "learner.noise_correlation": 0.5, "learner.eval_policy": "greedy",
}  # fmt: skip
LEARNING_RATES = {"ppo": 1e-3, "a2c": 3e-3}
LEARNER_DEFAULTS: dict[str, dict[str, Any]] = {
    "ppo": {
        "horizon": 128, "sequence_length": 16, "epochs": 8, "minibatches": 8, "gamma": 0.99, "lam": 0.95,
        "ratio_clip": 0.2, "entropy_weight": 0.0, "clip": 0.5, "eps": 1e-5, "normalize_advantage": "minibatch",
        "value_weight": 0.1,  # of .5 the critic's gradient drives the memory that actor and critic share
    },
    "a2c": {
        "horizon": 8, "gamma": 0.99, "lam": 0.95, "entropy_weight": 0.0, "clip": 0.5, "eps": 1e-5,
        "normalize_advantage": False,  # of 128 steps: with it the policy collapsed again and again
    },
    "dqn": {
        "horizon": 8, "gamma": 0.99, "gradient_steps": 16, "replay_batch": 64, "n_steps": 3, "double_q": True,
        "exploration": LinearEpsilon(1.0, 0.05, 20_000), "capacity": 50_000, "prefill": 1000,
        "target_update_interval": 250,
    },
    "emdqn": {
        "horizon": 8, "gamma": 0.99, "gradient_steps": 16, "replay_batch": 64, "n_steps": 3, "double_q": True,
        "exploration": LinearEpsilon(1.0, 0.05, 20_000), "capacity": 50_000, "prefill": 1000,
        "target_update_interval": 250,
    },
    "dreamer": {"horizon": 8, "gradient_steps": 8, "capacity": 15_000},
    "mfec": {"gamma": 0.99},  # of 1 a way that comes back to where it was is as good as the shortest
    "nec": {"exploration": LinearEpsilon(1.0, 0.05, 20_000), "horizon": 8, "gradient_steps": 16},
    "drqn": {
        "horizon": 8, "gamma": 0.99, "train_length": 16, "overlap": 8, "n_steps": 5, "double_q": True,
        "exploration": LinearEpsilon(1.0, 0.05, 20_000), "capacity": 10_000, "prefill": 128,
        "gradient_steps": 4, "replay_batch": 32, "target_update_interval": 50,
    },
    "r2d2": {
        "horizon": 8, "gamma": 0.99, "train_length": 16, "burn_in": 8, "overlap": 8, "n_steps": 5, "eps": 1e-5,
        "exploration": LinearEpsilon(1.0, 0.05, 20_000), "capacity": 10_000, "prefill": 128,
        "gradient_steps": 4, "replay_batch": 32, "target_update_interval": 50,
    },
}  # fmt: skip
"""Options of each learner, equal for all environments; found on those of the study classic-control (notebooks/LOG.md).

The sequences of PPO, DRQN and R2D2, and the horizon of A2C, cut the gradient through the memory: an agent that must
remember for longer than 16 steps, or 8, wants a larger `--learner.sequence-length`, `--learner.train-length`, or
`--learner.horizon`. R2D2 explores as DRQN does, not with a constant epsilon for each of the paper's 256 actors.
"""


@dataclass(frozen=True, kw_only=True)
class ExternalEnvFlags:
    """How an external environment is stepped.

    Args:
        steps: environment steps after which an episode is truncated; 0: the environment's own limit, if it has one.
        num_workers: worker processes that step the copies of the environment; 1: none. If it is not given, as many as
            there are cores where a step takes a millisecond or more, which is measured, else none.
        timeout: seconds that a step may take; needs workers.
        total_steps: environment steps of the training, over all copies, from which outer steps follow; if neither is
            given 200,000, or 500,000 in minatar.
    """

    steps: int = 0
    num_workers: int | None = None
    timeout: float | None = None
    total_steps: int | None = None

    @property
    def env_options(self) -> dict[str, Any]:
        """Keyword arguments of `tasks.Gymnasium` and `tasks.PettingZoo`."""
        return {"steps": self.steps, "num_workers": self.num_workers, "timeout": self.timeout}

    def make_run(
        self,
        setup: Setup,
        task: Task,
        *,
        default_total_steps: int = TOTAL_STEPS,
        learning_rates: Mapping[str, float] = LEARNING_RATES,
    ) -> Run:
        """A run on an external environment, whose episodes continue from one outer step to the next.

        Args:
            setup: the agent and its learner.
            task: the environment.
            default_total_steps: where neither outer steps nor total steps are given.
            learning_rates: by learner, where none is given; 1e-3 of others.

        Raises:
            ValueError: both outer steps and total steps are given; or as `Setup.make_run` does.
        """
        lr = learning_rates.get(setup.learner.name, 1e-3) if setup.lr is None else setup.lr
        horizon = setup.learner.option("horizon") or task.steps
        setup = replace(setup, lr=lr, outer_steps=self._outer_steps(setup, horizon, default_total_steps))
        run = setup.make_run(task)
        run.log_every, run.save_every = 1, max(10, run.outer_steps // 20)  # a replay buffer is large
        return run

    def _outer_steps(self, setup: Setup, horizon: int, default: int) -> int:
        """The number of outer steps that was given, or that makes up the total."""
        if self.total_steps is not None and setup.outer_steps is not None:
            raise ValueError(
                f"total_steps={self.total_steps}, and outer_steps={setup.outer_steps}: want one of them; an outer step "
                "has batch x learner.horizon environment steps"
            )
        if setup.outer_steps is not None:
            return setup.outer_steps
        total = default if self.total_steps is None else self.total_steps
        if total < 1:
            raise ValueError(f"total_steps={total}, want at least 1")
        return -(-total // (max(1, setup.batch) * horizon))


@recipe({"learner": LEARNER_DEFAULTS}, **EXTERNAL_DEFAULTS | {"sense": "auto", "sense.scale": 1.0})
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
    {"learner": LEARNER_DEFAULTS},
    **EXTERNAL_DEFAULTS
    | {"experts": 0, "topology": "complete", "bus": "attention", "identity_size": None}
    | {"sense": "auto", "act": "team"},
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
