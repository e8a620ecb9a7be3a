"""Worlds of several agents that are not ours."""

from functools import partial
from typing import Any

from badger.learners import A2C, PPO
from badger.memories import Memories
from badger.run import Run
from badger.setup import Setup, recipe
from comms import pick
from experts import GRU
from tasks import PettingZoo


@recipe(experts=0, batch=32, lr=1e-3, schedule="constant", outer_steps=2000, memory="none")
def pettingzoo(
    setup: Setup,
    memories: Memories,
    *,
    env: str = "mpe2.simple_speaker_listener_v4",
    steps: int = 25,
    numbered: bool = True,
    learner: str = "a2c",
    processes: int = 1,
    timeout: float | None = None,
    hidden_size: int = 64,
    horizon: int | None = None,
    gamma: float = 0.95,
    lam: float = 0.95,
    reward_scale: float = 1.0,
    entropy_weight: float = 0.01,
) -> Run:
    """Teams of experts learn to play in any world of PettingZoo; over the bus they talk, unless it is silent. A run
    that is resumed begins new episodes.

    Args:
        env: a module with a parallel_env, as those of PettingZoo, or a function that makes a world, module:function.
        steps: after which an episode is truncated.
        numbered: each agent sees its number, too, so that one policy may have several roles.
        learner: a2c; or ppo, which goes through what was played four times, in two minibatches.
        processes: more than 1: workers that step the copies of the world.
        timeout: seconds that a step may take; needs workers.
        hidden_size: of the GRU.
        horizon: steps in an outer step, where episodes go on from one to the next; none: whole episodes, or with ppo
            as many steps as the longest has, with the one that opens the next.
        gamma: discount of a step.
        lam: of lambda-returns; 1: Monte-Carlo or n-step returns.
        reward_scale: of rewards before anything is learned from them, so that values are near 1.
        entropy_weight: of the bonus for undecided choices.
    """
    task = PettingZoo(env=env, steps=steps, numbered=numbered, processes=processes, timeout=timeout)
    setup = setup.peopled(task)
    core = memories.core(partial(GRU, hidden_size=hidden_size), setup.experts)
    learning: dict[str, Any] = {"gamma": gamma, "lam": lam, "reward_scale": reward_scale}
    learning |= {"entropy_weight": entropy_weight, "auxiliary": memories.auxiliary}
    kind, own = pick({"a2c": (A2C, {}), "ppo": (PPO, {"horizon": steps + 1, "minibatches": 2})}, learner, "learner")
    learning |= own | ({} if horizon is None else {"horizon": horizon})
    return setup.run(task, core, learner=kind, **learning)
