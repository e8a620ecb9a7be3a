"""Small environments of Gymnasium, some of which fail."""

import ctypes
import faulthandler
import os
import signal
import sys
import time
from contextlib import suppress

import gymnasium
import numpy as np
from gymnasium.spaces import Box, Dict, Discrete, MultiBinary, MultiDiscrete, Text, Tuple

BAD = 3  # the step that fails


class Counter(gymnasium.Env):
    """Observes a number sampled from the seed and the step; the reward is the action, one of four.

    Terminates after `length` steps, by default 3 to 6, sampled from the seed.
    """

    observation_space = Box(-np.inf, np.inf, (2,), np.float64)

    def __init__(self, length=None):
        self.action_space = Discrete(4)
        self.length = length

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.sampled, self.t = self.np_random.random(), 0
        self.end = self.length or int(self.np_random.integers(3, 7))
        return self.observe(), {}

    def step(self, action):
        self.t += 1
        return self.observe(), float(action), self.t == self.end, False, {}

    def observe(self):
        return np.array([self.sampled, self.t], float)


class Bad(Counter):
    """Fails in step BAD."""

    def step(self, action):
        results = super().step(action)
        return self.wrong(*results) if self.t == BAD else results


class Raising(Bad):
    def wrong(self, *results):
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
    def wrong(self, *results):
        while True:
            time.sleep(0.01)


class Quitting(Bad):
    def wrong(self, *results):
        sys.exit(3)


class Obeying(Counter):
    """Calls a function in each step whose action is 3."""

    def __init__(self, function):
        super().__init__(9)
        self.function = function

    def step(self, action):
        if action == 3:
            self.function()
        return super().step(action)


def sleep():
    time.sleep(60)


def ignore_interrupts():
    while True:
        with suppress(Exception):
            time.sleep(0.01)


def block_signals():
    signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())
    time.sleep(60)


def hold_interpreter_lock():
    """Sleeps in C, so that no thread runs and no signal is handled."""
    signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())
    ctypes.PyDLL(None).sleep(60)


def die():
    os._exit(3)


def crash():
    faulthandler.disable()  # pytest's would print a traceback among the tests
    os.kill(os.getpid(), signal.SIGSEGV)


class Waiting(Counter):
    """Each step waits for some seconds, as for a simulator."""

    def __init__(self, seconds):
        super().__init__()
        self.seconds = seconds

    def step(self, action):
        time.sleep(self.seconds)
        return super().step(action)


class Changing(Counter):
    """Has another action space in its second episode."""

    def reset(self, **options):
        self.action_space = Discrete(5) if hasattr(self, "t") else self.action_space
        return super().reset(**options)


class Rooms(Counter):
    """The observation is a dict."""

    observation_space = Dict(door=Discrete(3), place=Box(-1, 1, (2, 2), np.float32))

    def observe(self):
        return {"door": self.t % 3, "place": np.full((2, 2), self.sampled, np.float32)}


class Wearing(Counter):
    """Raises after `left` steps of all copies together."""

    left = 60

    def step(self, action):
        Wearing.left -= 1
        if Wearing.left < 0:
            raise OSError("worn out")
        return super().step(action)


class Asked(Counter):
    """Ends after six steps and observes its last action, of any space."""

    def __init__(self, action_space):
        super().__init__(6)
        self.action_space = action_space
        self.observation_space = Box(-np.inf, np.inf, action_space.shape or (1,), np.float64)
        self.last_action = np.zeros(self.observation_space.shape)

    def step(self, action):
        assert self.action_space.contains(action), action
        self.last_action = np.reshape(action, self.observation_space.shape).astype(float)
        return self.observe(), 0.0, self.t == self.end, False, {}

    def observe(self):
        return self.last_action


class Shown(Counter):
    """Observes samples of any space, seeded."""

    def __init__(self, observation_space):
        super().__init__(6)
        self.observation_space = observation_space

    def reset(self, *, seed=None, options=None):
        self.observation_space.seed(seed)
        return super().reset(seed=seed)

    def observe(self):
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


class Rewarding(Bad):
    """Returns any reward in step BAD."""

    def __init__(self, reward, length=None):
        super().__init__(length)
        self.reward = reward

    def wrong(self, obs, reward, *rest):
        return obs, self.reward, *rest


class Exiting(Bad):
    """Ends the process in its constructor, in reset or in step BAD."""

    def __init__(self, where, length=None):
        super().__init__(length)
        self.where = where
        if where == "constructor":
            sys.exit(3)

    def reset(self, **options):
        if self.where == "reset":
            sys.exit("no more")
        return super().reset(**options)

    def wrong(self, *results):
        if self.where == "step":
            sys.exit(3)
        return results


def huge_rewards():
    return Rewarding(1e38, length=6)


def exits_at_once():
    sys.exit(4)


class Masked(gymnasium.Env):
    """Five options, of which two are allowed in each step; an illegal action raises. The mask is given in either way.

    It observes which options are allowed; the reward is 1 for the first of them.
    """

    OPTIONS = 5

    def __init__(self, where="info"):
        self.where = where
        self.action_space = Discrete(self.OPTIONS, start=1)
        self.plain = Box(0, 1, (self.OPTIONS,), np.float32)
        masked = Dict(observation=self.plain, action_mask=MultiBinary(self.OPTIONS))
        self.observation_space = masked if where == "observation" else self.plain

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.t = 0
        return self.observe()

    def step(self, action):
        if not self.allowed[action - 1]:
            raise ValueError(f"{action} is illegal, allowed is {self.allowed}")
        reward, self.t = float(action - 1 == self.allowed.argmax()), self.t + 1
        obs, info = self.observe()
        return obs, reward, self.t == 4, False, info

    def observe(self):
        self.allowed = np.zeros(self.OPTIONS, np.int8)
        self.allowed[self.np_random.choice(self.OPTIONS, 2, replace=False)] = 1
        plain = self.allowed.astype(np.float32)
        if self.where == "observation":
            return {"observation": plain, "action_mask": self.allowed}, {}
        return plain, {"action_mask": self.allowed}


def masked_observation():
    return Masked("observation")


class Forgetful(Masked):
    """Its mask is missing after the second step."""

    def observe(self):
        obs, info = super().observe()
        return obs, {} if self.t == 2 else info


class Choosing(gymnasium.Env):
    """Keeps the last action of any space in `last`, and ends after six steps."""

    observation_space = Discrete(7)

    def __init__(self, action_space):
        self.action_space = action_space

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.t = 0
        return 0, {}

    def step(self, action):
        assert self.action_space.contains(action), (self.action_space, action)
        self.t, self.last = self.t + 1, action
        return self.t, 0.0, self.t == 6, False, {}


def room():
    """Shows an image, a symbol and a text; it is rewarded by its action."""
    return Shown(Dict(image=Box(0, 255, (7, 7, 3), np.uint8), direction=Discrete(4), mission=Text(8)))


class Spaceless(gymnasium.Env):
    """Has no spaces."""


class Old(Counter):
    """Has the interface of Gym before 0.26, in its resets or its steps."""

    def __init__(self, where):
        super().__init__()
        self.where = where

    def reset(self, **options):
        return super().reset(**options)[0] if self.where == "reset" else super().reset(**options)

    def step(self, action):
        return super().step(action)[:4]


def endless():
    return Counter(10**6)


class Aimed(gymnasium.Env):
    """Four steps, with the reward 1/2 for the choice that is observed, less the distance of a number from -1/2."""

    observation_space = Discrete(2)
    action_space = Dict(aim=Box(-1, 1, (1,)), button=Discrete(2))

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.t, self.wanted = 0, int(self.np_random.integers(2))
        return self.wanted, {}

    def step(self, action):
        assert self.action_space.contains(action), action
        reward = 0.5 * (action["button"] == self.wanted) - abs(float(action["aim"][0]) + 0.5)
        self.t, self.wanted = self.t + 1, int(self.np_random.integers(2))
        return self.wanted, reward, self.t == 4, False, {}


def aimed():
    return Aimed()
