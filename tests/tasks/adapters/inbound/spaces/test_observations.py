"""Observations of any space: their numbers, their parts, and what is refused."""

from functools import partial

import gymnasium
import numpy as np
import pytest
import torch
from gymnasium.spaces import Box, Dict, Discrete, Graph, MultiBinary, MultiDiscrete, OneOf, Sequence, Space, Tuple
from numpy.testing import assert_array_equal

import toy_worlds
from tasks import EnvError, Gymnasium, ObsPart
from tasks.adapters.inbound.spaces.observations import ObservationCodec
from tasks.adapters.inbound.spaces.stacking import stack_observations
from tasks.adapters.inbound.spaces.text import TEXT_SIZE, hashed_words
from toys import seeded


class Mission(Space):
    """A text of a kind of its own, as MiniGrid has it."""

    def __init__(self):
        super().__init__(dtype=str)

    def sample(self, mask=None, probability=None):
        return str(self.np_random.choice(["go to the red ball", "get a key"]))

    def contains(self, x):
        return isinstance(x, str)


ROOM = Dict(image=Box(0, 255, (7, 7, 3), np.uint8), direction=Discrete(4), mission=Mission())
FLATTENED = {
    "box": Box(-1, 1, (2, 3)),
    "number": Box(-1, 1, ()),
    "integers": Box(-5, 5, (3,), np.int32),
    "flags": MultiBinary((2, 2)),
    "symbols": MultiDiscrete([[2, 3], [4, 2]]),
    "first 2": Discrete(3, start=2),
    "one of": OneOf((Discrete(2), Box(-1, 1, (2,)))),
    "nested": Dict(a=Tuple((Discrete(2), Dict(b=Box(0, 9, (2,), np.int64), c=MultiBinary(2)))), d=Discrete(3)),
}


@pytest.mark.parametrize("name", FLATTENED)
def test_observations_are_flattened_in_the_order_of_gymnasium(name):
    space = FLATTENED[name]
    codec, rows = ObservationCodec(space, "Toy"), [space.sample() for _ in range(3)]
    flat = codec.encode(stack_observations(space, rows), 3)
    assert_array_equal(flat, np.stack([gymnasium.spaces.flatten(space, row) for row in rows]))
    assert sum(part.size for part in codec.parts) == codec.size == flat.shape[1]


def test_a_room_with_an_image_a_symbol_and_a_text_is_read():
    task = Gymnasium(partial(toy_worlds.Shown, ROOM), steps=9)
    assert task.obs_parts == (
        ObsPart("image", (7, 7, 3), "['image']", "HWC", 0.0, 255.0, whole=True),
        ObsPart("one_hot", (4,), "['direction']"),
        ObsPart("text", (TEXT_SIZE,), "['mission']"),
    )
    _, step = task.reset(3, seeded())
    assert step.obs.shape == (3, 4 + 147 + TEXT_SIZE) and step.obs[:, 151:].sum(-1).min() >= 3
    assert task.numeric_obs == (False,) * task.obs_size


def test_texts_are_counts_of_words_in_every_process():
    counts = hashed_words("Go to the red ball, then to the blue one")
    assert counts.sum() == 11 and counts.max() >= 2
    assert_array_equal(counts, hashed_words("go TO the red ball, then to the blue one"))
    assert hashed_words("").sum() == 0 and np.flatnonzero(hashed_words("key")).tolist() == [169]


IMAGES = {
    "screen": (Box(0, 255, (210, 160, 3), np.uint8), "HWC"),
    "channels first": (Box(0, 255, (3, 96, 80), np.uint8), "CHW"),
    "stacked gray frames": (Box(0, 255, (4, 84, 84), np.uint8), "CHW"),
    "stacked frames": (Box(0, 255, (4, 84, 84, 3), np.uint8), "NHWC"),
    "gray": (Box(0, 255, (84, 84), np.uint8), "HW"),
    "MinAtar": (Box(0, 1, (10, 10, 4), bool), "HWC"),
    "more channels than pixels": (Box(0, 1, (8, 8, 111), bool), "HWC"),
    "scaled": (Box(0, 1, (3, 64, 64), np.float32), "CHW"),
    "small board": (Box(0, 1, (3, 3, 2), np.int8), ""),
    "kinematics": (Box(-np.inf, np.inf, (5, 5), np.float32), ""),
    "features": (Box(-np.inf, np.inf, (7, 7, 3), np.float32), ""),
    "memory of a console": (Box(0, 255, (128,), np.uint8), ""),
}


@pytest.mark.parametrize("name", IMAGES)
def test_images_are_found_with_the_order_of_their_axes(name):
    box, layout = IMAGES[name]
    (part,) = ObservationCodec(box, "Toy").parts
    assert (part.kind, part.layout, part.shape) == ("image" if layout else "vector", layout, box.shape)


def test_a_part_that_loses_pixels_is_no_image():
    task = Gymnasium(partial(toy_worlds.Shown, ROOM), steps=9, mask_obs=(0, 147))
    assert [(part.kind, part.size) for part in task.obs_parts] == [
        ("vector", 146), ("one_hot", 3), ("text", TEXT_SIZE),
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("space", "message"),
    [
        (
            Dict(a=Tuple((Discrete(2), Sequence(Discrete(2))))),
            r"observation\['a'\]\[1\] has the space Sequence.*no fixed",
        ),
        (Graph(Box(0, 1, (1,)), None), r"observation has the space Graph.*want Box, Discrete.*TransformObservation"),
        (Dict(action_mask=MultiBinary(3)), "nothing to observe"),
    ],
)
def test_what_cannot_be_read_is_named(space, message):
    with pytest.raises(ValueError, match=message):
        ObservationCodec(space, "Toy")


WRONG = {
    "key": (ROOM, {"image": 0, "direction": 1}, r"\['direction', 'image'\], want a dict of"),
    "symbol": (Discrete(3), 3, r"3, want a value of Discrete\(3\)"),
    "negative": (MultiDiscrete([2, 2]), np.array([0, -1]), "want a value of MultiDiscrete"),
    "text": (Dict(say=Mission()), {"say": 7}, r"observation\['say'\] 7, want a value of"),
    "dtype": (Box(0, 9, (1,), np.int64), np.array([0.5]), "dtype float64, want int64"),
    "ragged": (Box(0, 9, (2, 2)), [[1, 2], [3]], "want an array of shape"),
    "beyond float32": (Box(-np.inf, np.inf, (1,), np.float64), np.array([1e300]), "want at most 3.4e"),
    "None": (Box(0, 1, (1,)), None, "want"),
}


@pytest.mark.parametrize("name", WRONG)
def test_an_observation_that_is_not_of_its_space_is_named_with_row_seed_and_step(name):
    space, value, message = WRONG[name]

    class Wrong(toy_worlds.Shown):
        def observe(self):
            return value if self.t == 2 else super().observe()

    task = Gymnasium(partial(Wrong, space), steps=9)
    state, _ = task.reset(2, seeded())
    with pytest.raises(EnvError, match=rf"row 0 \(seed \d+, step 2\) returned the .*{message}"):
        for _ in range(2):
            state, _ = task.step(state, torch.zeros(2, dtype=torch.long), seeded())


@pytest.mark.parametrize("value", [[1, 2], (1.0, 2.0), np.array([1, 2]), np.array([1, 2], np.float64)])
def test_lists_and_other_dtypes_of_equal_numbers_are_read(value):
    assert stack_observations(Box(0, 9, (2,), np.uint8), [value, value]).tolist() == [[1, 2], [1, 2]]


def test_stacked_frames_begin_with_copies_of_the_first_also_in_the_next_episode():
    task = Gymnasium(partial(toy_worlds.Counter, 3), steps=9, frame_stack=3)
    state, step = task.reset(1, seeded())
    times = []
    for _ in range(5):
        times.append(step.obs.view(3, 2)[:, 1].tolist())
        over = step.terminated
        state, step = task.step(state, torch.zeros(1, dtype=torch.long), seeded())
        if over.any():
            state, step = task.restart(state, over, seeded())
    assert times == [[0, 0, 0], [0, 0, 1], [0, 1, 2], [1, 2, 3], [0, 0, 0]]


class Overwriting(toy_worlds.Masked):
    """Returns the same arrays in each step, its observation or its mask in a dict."""

    def observe(self):
        obs, info = super().observe()
        obs["observation"][:] = self.t
        self.shown = getattr(self, "shown", obs)
        for key, array in obs.items():
            self.shown[key][:] = array
        self.legal = self.shown["action_mask"]
        return self.shown, info


def test_frames_are_copies_of_arrays_that_the_environment_overwrites_and_the_mask_is_the_last():
    task = Gymnasium(partial(Overwriting, "observation"), frame_stack=3)
    state, step = task.reset(2, seeded())
    frames = []
    for _ in range(4):
        frames.append(step.obs[0].view(3, 5)[:, 0].tolist())
        assert step.action_mask.shape == (2, 5) and (step.action_mask.sum(-1) == 2).all()
        state, step = task.step(state, step.action_mask.int().argmax(-1), seeded())  # an illegal one raises
    assert frames == [[0, 0, 0], [0, 0, 1], [0, 1, 2], [1, 2, 3]]
