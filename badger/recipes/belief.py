"""The recipe of partially observed Markov decision processes, in which an exact belief may stand in for a memory."""

from badger.recipes.flags import recipe
from badger.recipes.rl_memory import RL_DEFAULTS
from badger.recipes.settings import Setup
from badger.runs.run import Run
from tasks import Pomdp, PreviousActionReward


@recipe(
    {"learner": {"ppo": {"entropy_weight": 0.01, "epochs": 4, "minibatches": 4, "normalize_reward": True}}},
    **RL_DEFAULTS
    | {"batch": 64, "outer_steps": 400, "learner": "ppo", "schedule": "linear", "normalize_obs": True}
    | {"learner.eval_policy": "greedy"},
)
def pomdp(setup: Setup, *, model: str = "tiger.95", steps: int = 20) -> Run:
    """One expert acts in a partially observed Markov decision process: a classic, or a file in Cassandra's format.

    It observes its last action and reward, too. `--core exact_belief` computes the belief of the model instead of
    learning what to remember. Returns are discounted as in the model; `badger solve MODEL` has the optimum.

    Args:
        model: 1d, 4x3, cheese, parr95, shuttle, tiger.95 or tiger.aaai, or the path of a file.
        steps: length of an episode.
    """
    task = Pomdp(steps, model)
    defaults = {"gamma": task.loaded.discount, "horizon": steps}
    return setup.make_run(PreviousActionReward(task), learner_defaults=defaults)
