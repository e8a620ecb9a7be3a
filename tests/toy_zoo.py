"""Small environments of PettingZoo, some of which fail."""

from typing import ClassVar

import numpy as np
from gymnasium.spaces import Box, Dict, Discrete, MultiBinary, MultiDiscrete, Tuple
from pettingzoo import AECEnv, ParallelEnv

BAD = 2  # the step that fails


class Meadow(ParallelEnv):
    """Three agents that terminate or are truncated at steps sampled from the seed; the last appears in step 1.

    An agent observes its sampled number, the step and its last action; its reward is its action. The reward of an agent
    that has just appeared is 9, although it has not acted.
    """

    metadata: ClassVar = {"name": "meadow_v0"}
    render_mode = None

    def __init__(self, steps=6):
        self.steps = steps
        self.possible_agents = ["cow_0", "cow_1", "calf_0"]
        self.agents = []
        self.seen = {name: Box(-np.inf, np.inf, (3,), np.float64) for name in self.possible_agents}
        self.done = {name: Discrete(3) for name in self.possible_agents}

    def observation_space(self, agent):
        return self.seen[agent]

    def action_space(self, agent):
        return self.done[agent]

    def reset(self, seed=None, options=None):
        rng = np.random.default_rng(seed)
        self.t, self.last = 0, dict.fromkeys(self.possible_agents, 0)
        self.drawn = dict(zip(self.possible_agents, rng.random(3), strict=True))
        self.ends = dict(zip(self.possible_agents, rng.integers(2, self.steps + 1, 3), strict=True))
        self.cut = dict(zip(self.possible_agents, rng.random(3) < 0.5, strict=True))
        self.agents = self.possible_agents[:2]
        return {name: self.obs(name) for name in self.agents}, {name: {} for name in self.agents}

    def step(self, actions):
        assert set(actions) == set(self.agents), (actions, self.agents)
        self.t += 1
        self.last.update({name: int(action) for name, action in actions.items()})
        names = list(actions)
        done = {name: self.t >= self.ends[name] for name in names}
        self.agents = [name for name in names if not done[name]]
        if self.t == 1:
            self.agents.append("calf_0")
            names.append("calf_0")
        ends = ({name: bool(done.get(name) and self.cut[name] == cut) for name in names} for cut in (False, True))
        rewards = {name: float(actions.get(name, 9)) for name in names}
        return {name: self.obs(name) for name in names}, rewards, *ends, {name: {} for name in names}

    def obs(self, name):
        return np.array([self.drawn[name], self.t, self.last[name]], float)


class Bad(Meadow):
    """Fails in step BAD."""

    def __init__(self):
        super().__init__()
        self.steps = 9

    def reset(self, seed=None, options=None):
        results = super().reset(seed, options)
        self.ends = dict.fromkeys(self.ends, 9)
        return results

    def step(self, actions):
        results = super().step(actions)
        return self.wrong(*results) if self.t == BAD else results


class NaN(Bad):
    def wrong(self, obs, *rest):
        obs["cow_1"][1] = np.nan
        return obs, *rest


class Infinite(Bad):
    def wrong(self, obs, rewards, *rest):
        return obs, rewards | {"cow_1": np.inf}, *rest


class Raising(Bad):
    def wrong(self, *results):
        raise KeyError("the gate is locked")


class Stranger(Bad):
    def wrong(self, *results):
        self.agents.append("wolf_0")
        return results


class StrangerSeen(Bad):
    def wrong(self, obs, *rest):
        return obs | {"wolf_0": obs["cow_0"]}, *rest


class Unseen(Bad):
    def wrong(self, obs, *rest):
        return {name: value for name, value in obs.items() if name != "cow_1"}, *rest


class Short(Bad):
    def wrong(self, obs, *rest):
        return obs | {"cow_1": np.zeros(2)}, *rest


class Silently(Bad):
    """An agent disappears without an end flag."""

    def wrong(self, *results):
        self.agents.remove("cow_1")
        return results


class Changing(Meadow):
    """Has another action space in its second episode."""

    def reset(self, seed=None, options=None):
        if hasattr(self, "t"):
            self.done["cow_1"] = Discrete(5)
        return super().reset(seed, options)


class Renaming(Meadow):
    def reset(self, seed=None, options=None):
        if hasattr(self, "t"):
            self.possible_agents = ["cow_0", "cow_1", "calf_1"]
        return super().reset(seed, options)


class Nameless(Meadow):
    def __init__(self):
        super().__init__()
        del self.possible_agents


class Farm(Meadow):
    """Agents with different spaces; the first has its action mask in the observation, the second in the info."""

    def __init__(self):
        super().__init__()
        count = Dict(
            observation=Dict(day=Discrete(3), field=Box(-1, 1, (2, 2), np.float32)), action_mask=MultiBinary(3)
        )
        self.seen = {"cow_0": count, "cow_1": Tuple((MultiBinary(2), Discrete(2))), "calf_0": MultiDiscrete([2, 3])}
        self.done = {"cow_0": Discrete(3, start=1), "cow_1": MultiDiscrete([2, 4]), "calf_0": MultiBinary(3)}

    def reset(self, seed=None, options=None):
        obs, infos = super().reset(seed, options)
        return obs, infos | {"cow_1": {"action_mask": (np.array([0, 1]), np.array([1, 1, 0, 0]))}}

    def step(self, actions):
        self.given = actions
        return super().step({name: np.sum(action) for name, action in actions.items()})

    def obs(self, name):
        seen = {"day": self.t % 3, "field": np.full((2, 2), self.drawn[name], np.float32)}
        return {
            "cow_0": {"observation": seen, "action_mask": np.array([1, 0, 1], np.int8)},
            "cow_1": (np.array([1, 0], np.int8), self.t % 2),
            "calf_0": np.array([1, 2]),
        }[name]


class Pond(Meadow):
    """Continuous actions."""

    def __init__(self):
        super().__init__()
        self.done = {"cow_0": Box(-1, 1, (2,)), "cow_1": Box(0, 3, (1, 3)), "calf_0": Box(-2, 0, (1,))}

    def step(self, actions):
        self.given = actions
        return super().step({name: np.sum(action) for name, action in actions.items()})


class Turns(AECEnv):
    """Two agents that take turns for some rounds; the reward of each is its action."""

    metadata: ClassVar = {"name": "turns_v0", "is_parallelizable": True}
    render_mode = None

    def __init__(self, rounds=3):
        self.rounds = rounds
        self.possible_agents = ["left_0", "right_0"]

    def observation_space(self, agent):
        return Box(-np.inf, np.inf, (2,), np.float64)

    def action_space(self, agent):
        return Discrete(4)

    def observe(self, agent):
        return np.array([self.drawn, self.round], float)

    def reset(self, seed=None, options=None):
        self.drawn, self.round = np.random.default_rng(seed).random(), 0
        self.agents = self.possible_agents[:]
        self.agent_selection = self.agents[0]
        self.rewards, self._cumulative_rewards = ({name: 0.0 for name in self.agents} for _ in range(2))
        self.terminations, self.truncations = (dict.fromkeys(self.agents, False) for _ in range(2))
        self.infos = {name: {} for name in self.agents}

    def step(self, action):
        name = self.agent_selection
        if self.terminations[name]:
            return self._was_dead_step(action)
        self._cumulative_rewards[name] = 0.0
        self.rewards = {one: float(action) if one == name else 0.0 for one in self.agents}
        last = name == self.agents[-1]
        if last:
            self.round += 1
            self.terminations = dict.fromkeys(self.agents, self.round == self.rounds)
        self.agent_selection = self.agents[0 if last else 1]
        self._accumulate_rewards()


class Ordered(Turns):
    metadata: ClassVar = {"name": "ordered_v0"}


class Cards(AECEnv):
    """Two agents play in turns; two of four cards are legal, an illegal one raises. The last to move wins the round.

    The mask is in the observation of the agent whose turn it is, as in PettingZoo's classic games.
    """

    metadata: ClassVar = {"name": "cards_v0"}
    render_mode = None

    def __init__(self, turns=5, strict=True):
        self.turns, self.strict = turns, strict
        self.possible_agents = ["player_0", "player_1"]
        self.seen = Dict(observation=Box(0, 9, (2,), np.float32), action_mask=Box(0, 1, (4,), np.int8))

    def observation_space(self, agent):
        return self.seen

    def action_space(self, agent):
        return Discrete(4)

    def observe(self, agent):
        mask = self.legal if agent == self.agent_selection else np.zeros(4, np.int8)
        return {"observation": np.array([self.t, self.possible_agents.index(agent)], np.float32), "action_mask": mask}

    def reset(self, seed=None, options=None):
        self.rng, self.t = np.random.default_rng(seed), 0
        self.agents = self.possible_agents[:]
        self.agent_selection = self.agents[0]
        self.rewards, self._cumulative_rewards = ({name: 0.0 for name in self.agents} for _ in range(2))
        self.terminations, self.truncations = (dict.fromkeys(self.agents, False) for _ in range(2))
        self.infos = {name: {} for name in self.agents}
        self.deal()

    def deal(self):
        self.legal = np.zeros(4, np.int8)
        self.legal[self.rng.choice(4, 2, replace=False)] = 1

    def step(self, action):
        name = self.agent_selection
        if self.terminations[name]:
            return self._was_dead_step(action)
        assert self.legal[action] or not self.strict, (action, self.legal)
        self._cumulative_rewards[name], self.t = 0.0, self.t + 1
        other = self.possible_agents[1 - self.possible_agents.index(name)]
        self._clear_rewards()
        if self.t == self.turns:
            self.rewards = {name: 1.0, other: -1.0}
            self.terminations = dict.fromkeys(self.agents, True)
        self.agent_selection = other
        self._accumulate_rewards()
        self.deal()
