"""Recipes of partially observed Markov decision processes, in which an exact belief may stand in for a memory."""

from badger.recipes.flags import recipe
from badger.recipes.rl_memory import RL_DEFAULTS
from badger.recipes.settings import Setup
from badger.runs.run import Run
from tasks import DecTiger, MountainHike, Pomdp, PreviousActionReward


@recipe(
    {"learner": {"ppo": {"entropy_weight": 0.01, "epochs": 4, "minibatches": 4, "normalize_reward": True}}},
    **RL_DEFAULTS
    | {"batch": 64, "outer_steps": 400, "learner": "ppo", "schedule": "linear", "normalize_obs": True}
    | {"learner.eval_policy": "greedy"},
)
def pomdp(setup: Setup, *, model: str = "tiger.95", steps: int = 20) -> Run:
    """One expert acts in a partially observed Markov decision process: a classic, or a file in Cassandra's format.

    It observes its last action and reward, too. `--core exact_belief` computes the belief of the model instead of
    learning what to remember, `--core psr` its predictive state. Returns are discounted as in the model; `badger solve
    MODEL` has the optimum.

    Args:
        model: 1d, 4x3, cheese, parr95, shuttle, tiger.95 or tiger.aaai, or the path of a file.
        steps: length of an episode.
    """
    task = Pomdp(steps, model)
    defaults = {"gamma": task.loaded.discount, "horizon": steps}
    return setup.make_run(PreviousActionReward(task), learner_defaults=defaults)


@recipe(
    {"learner": {"ppo": {"epochs": 4, "minibatches": 4, "lam": 0.95, "clip": 0.5}}},
    **{
        "experts": 0, "bus": "attention", "topology": "complete", "sense": "team", "act": "team", "identity_size": 0,
        "batch": 512, "lr": 3e-3, "schedule": "linear", "outer_steps": 300, "learner": "ppo", "core.hidden_size": 32,
        "sense.scale": 4.0, "message_size": 4, "learner.gamma": 1.0, "learner.reward_scale": 0.05,
        "learner.entropy_weight": 0.4, "learner.entropy_schedule": "lr", "learner.eval_policy": "greedy",
    },
)  # fmt: skip
def dec_tiger(setup: Setup, *, steps: int = 3) -> Run:
    """Two agents hear a tiger, each on its own, and should open the same door; `--bus silent`: they may not talk.

    Messages of a step are read in the next one.

    Args:
        steps: length of an episode; the optima of 2 to 5 steps are known.
    """
    task = DecTiger(steps)
    return setup.with_default_experts(task).make_run(task, learner_defaults={"horizon": steps})


@recipe(
    {"learner": {"ppo": {"epochs": 4, "minibatches": 4, "lam": 0.95, "sequence_length": 25}, "a2c": {"lam": 0.95}}},
    **RL_DEFAULTS
    | {"batch": 32, "outer_steps": 420, "learner": "ppo", "lr": 3e-3, "schedule": "linear", "identity_size": 0}
    | {"sense": "broadcast", "core": "kalman_filter", "core.predicted": 2, "learner.normalize_reward": True}
    | {"learner.eval_policy": "greedy"},
)  # fmt: skip
def mountain_hike(setup: Setup, *, noise: float = 0.15, steps: int = 75) -> Run:
    """One expert walks along a ridge by noisy observations of its position, and observes its last action and reward.

    `--core kalman_filter` computes the exact belief, `particle_filter` (DPFRL) and `dvrl` learn one of particles, and
    `dvbf` a latent state; `gru` has a memory without a model, and `feedforward` none. An outer step has one episode of
    each row: 2,400 steps.

    Args:
        noise: standard deviation of an observation.
        steps: length of an episode.
    """
    return setup.make_run(PreviousActionReward(MountainHike(steps, noise)), learner_defaults={"horizon": steps})
