"""Small environments of Gymnasium, and what can go wrong in one."""

import os
import time
from contextlib import suppress

import gymnasium
import numpy as np
from gymnasium.spaces import Box, Dict, Discrete, MultiBinary, MultiDiscrete, Text, Tuple

BAD = 3  # the step in which something goes wrong


class Counter(gymnasium.Env):
    """Shows the number that it drew from its seed, and the step; pays the action, a choice of four; terminates after
    `length` steps, by default 3 to 6, as the seed has it."""

    observation_space = Box(-np.inf, np.inf, (2,), np.float64)

    def __init__(self, length=None):
        self.action_space = Discrete(4)
        self.length = length

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.drawn, self.t = self.np_random.random(), 0
        self.end = self.length or int(self.np_random.integers(3, 7))
        return self.seen(), {}

    def step(self, action):
        self.t += 1
        return self.seen(), float(action), self.t == self.end, False, {}

    def seen(self):
        return np.array([self.drawn, self.t], float)


class Bad(Counter):
    """Goes wrong in step BAD."""

    def step(self, action):
        told = super().step(action)
        return self.wrong(*told) if self.t == BAD else told


class Raising(Bad):
    def wrong(self, *told):
        raise KeyError("the door is locked")


class NaN(Bad):
    def wrong(self, obs, *rest):
        return np.array([obs[0], np.nan]), *rest


class Infinite(Bad):
    def wrong(self, obs, reward, *rest):
        return obs, np.inf, *rest


class Shapeless(Bad):
    def wrong(self, obs, *rest):
        return obs[:1], *rest


class Hanging(Bad):
    def wrong(self, *told):
        while True:
            time.sleep(0.01)


class Deaf(Bad):
    """Hangs, and whoever interrupts it is not heard."""

    def wrong(self, *told):
        while True:
            with suppress(Exception):
                time.sleep(0.01)


class Dying(Bad):
    def wrong(self, *told):
        os._exit(3)


class Changing(Counter):
    """Has another choice in its second episode."""

    def reset(self, **options):
        self.action_space = Discrete(5) if hasattr(self, "t") else self.action_space
        return super().reset(**options)


class Rooms(Counter):
    """What is seen has parts."""

    observation_space = Dict(door=Discrete(3), place=Box(-1, 1, (2, 2), np.float32))

    def seen(self):
        return {"door": self.t % 3, "place": np.full((2, 2), self.drawn, np.float32)}


class Wearing(Counter):
    """Breaks when all copies together have been stepped `left` times."""

    left = 60

    def step(self, action):
        Wearing.left -= 1
        if Wearing.left < 0:
            raise OSError("worn out")
        return super().step(action)


class Asked(Counter):
    """Ends after six steps, and shows which action it was given; the action is of any space."""

    def __init__(self, action_space):
        super().__init__(6)
        self.action_space = action_space
        self.observation_space = Box(-np.inf, np.inf, action_space.shape or (1,), np.float64)
        self.given = np.zeros(self.observation_space.shape)

    def step(self, action):
        assert self.action_space.contains(action), action
        self.given = np.reshape(action, self.observation_space.shape).astype(float)
        return self.seen(), 0.0, self.t == self.end, False, {}

    def seen(self):
        return self.given


class Shown(Counter):
    """Shows a sample of any space, drawn from its seed."""

    def __init__(self, observation_space):
        super().__init__(6)
        self.observation_space = observation_space

    def reset(self, *, seed=None, options=None):
        self.observation_space.seed(seed)
        return super().reset(seed=seed)

    def seen(self):
        return self.observation_space.sample()


def spoken():
    return Shown(Tuple((Text(3), Text(2))))


def spoken_to():
    return Asked(Text(4))


PARTS = Dict(
    choice=Discrete(3, start=1),
    place=Box(-1, 1, (2, 2), np.float32),
    pair=Tuple((MultiBinary(2), MultiDiscrete([2, 3]))),
)
