"""Senses of images, texts and mixed observations."""

import math

import pytest
import torch

from badger import SENSES, build_run
from badger.sense import MultiInput
from badger.sense.image_networks import ImpalaNetwork, NatureNetwork
from badger.testing.devices import META, all_on_meta, without_values
from tasks import ObsPart

B, E, P = 2, 4, 2
PARTS = (
    ObsPart("one_hot", (4,)),
    ObsPart("image", (7, 7, 3), layout="HWC", high=255.0),
    ObsPart("text", (16,)),
    ObsPart("vector", (2,)),
)
SIZE = 4 + 147 + 16 + 2


def sense(parts=PARTS, name="nature", **options):
    return SENSES[name](sum(part.size for part in parts), obs_parts=parts, features=8, **options)


@pytest.mark.parametrize("name", ["nature", "impala"])
@pytest.mark.parametrize("shape", [(B, SIZE), (B, P, SIZE)])
def test_images_are_sensed_on_the_meta_device(name, shape):
    @without_values(lambda case: sense(name=name))
    def senses_run_on_the_meta_device(case, made):
        obs = torch.zeros(shape, device=META, requires_grad=True)
        seen = made(obs, E, 2)
        assert seen.shape == (B, E, made.output_size)
        all_on_meta([seen, *torch.autograd.grad(seen.sum(), [obs, *made.parameters()])], "what is sensed")

    senses_run_on_the_meta_device(None)


@pytest.mark.parametrize("network", [NatureNetwork, ImpalaNetwork])
@pytest.mark.parametrize("size", [(5, 5), (7, 7), (10, 10), (35, 50), (36, 36), (84, 84), (64, 96)])
def test_images_of_any_size_have_features(network, size):
    assert network(3, *size, 8)(torch.rand(2, 3, *size)).shape == (2, 8)


def test_the_networks_have_the_sizes_of_the_papers():
    nature = [layer.weight.shape for layer in NatureNetwork(4, 84, 84).layers if hasattr(layer, "weight")]
    assert nature == [(32, 4, 8, 8), (64, 32, 4, 4), (64, 64, 3, 3), (512, 3136)]
    impala = sum(p.numel() for p in ImpalaNetwork(3, 72, 96).parameters())
    assert impala == sum(9 * c_in * c + c + 4 * (9 * c * c + c) for c_in, c in ((3, 16), (16, 32), (32, 32))) + 256 * (
        32 * 9 * 12 + 1
    )


def test_pixels_are_scaled_and_the_order_of_axes_makes_no_difference():
    image = torch.randint(256, (B, 8, 6, 3)).float()
    last = MultiInput(144, (ObsPart("image", (8, 6, 3), layout="HWC", high=255.0),), features=5)
    first = MultiInput(144, (ObsPart("image", (3, 8, 6), layout="CHW", high=255.0),), features=5)
    first.load_state_dict(last.state_dict())
    seen = last(image.flatten(1), E, 2)
    torch.testing.assert_close(seen, first(image.permute(0, 3, 1, 2).flatten(1), E, 2))
    expected = torch.log(1 + image.permute(0, 3, 1, 2)) / math.log(256)  # of a small image
    torch.testing.assert_close(seen[:, 0], last.encoders[0](expected))


def test_large_images_and_flags_are_scaled_by_their_bounds():
    large, flags = ObsPart("image", (40, 40), layout="HW", high=255.0), ObsPart("image", (6, 6, 2), layout="HWC")
    for part in (large, flags):
        sense, image = MultiInput(part.size, (part,), features=5), torch.rand(2, part.size) * part.high
        axes = image.reshape(2, 1, 40, 40) if part is large else image.reshape(2, 6, 6, 2).permute(0, 3, 1, 2)
        torch.testing.assert_close(sense(image, 1, 2)[:, 0], sense.encoders[0](axes / part.high))


def test_stacked_frames_are_channels():
    frames = torch.rand(B, 4, 8, 6, 3)
    made = MultiInput(576, (ObsPart("image", (4, 8, 6, 3), layout="NHWC"),), features=5)
    channels = frames.permute(0, 1, 4, 2, 3).reshape(B, 12, 8, 6)
    torch.testing.assert_close(made(frames.flatten(1), E, 2)[:, 0], made.encoders[0](channels))


def test_large_images_are_averaged_over_squares():
    part = ObsPart("image", (170, 256, 3), layout="HWC", high=2.0)
    made = MultiInput(part.size, (part,), features=5)
    image = torch.rand(1, 170, 256, 3)
    squares = image.view(1, 85, 2, 128, 2, 3).mean((2, 4)).permute(0, 3, 1, 2) / 2
    torch.testing.assert_close(made(image.flatten(1), E, 2)[:, 0], made.encoders[0](squares))


def test_vectors_and_symbols_are_unchanged_and_all_experts_sense_the_same():
    obs = torch.rand(B, SIZE)
    seen = sense()(obs, E, 2)
    assert torch.equal(seen[:, 0, :4], obs[:, :4]) and torch.equal(seen[:, 0, -2:], obs[:, -2:])
    assert torch.equal(seen[:, 0], seen[:, 3])


def test_an_expert_of_a_team_senses_what_its_agent_observes():
    obs = torch.rand(B, P, SIZE)
    made = sense()
    seen = made(obs, E, 2)
    for e in range(E):
        torch.testing.assert_close(seen[:, e], made(obs[:, e % P], 1, 2)[:, 0])


@pytest.mark.parametrize(
    ("parts", "agents", "kind"),
    [
        (PARTS, None, "MultiInput"),
        (PARTS, 2, "MultiInput"),
        ((ObsPart("vector", (3,)), ObsPart("one_hot", (2,))), None, "Scaled"),
        ((ObsPart("vector", (3,)),), 2, "Team"),
    ],
)
def test_the_default_sense_suits_the_observation(parts, agents, kind):
    size = sum(part.size for part in parts)
    assert type(SENSES["auto"](size, obs_parts=parts, agents=agents)).__name__ == kind


def test_parts_and_observations_of_another_size_are_refused():
    with pytest.raises(ValueError, match="have 169 numbers, want 3"):
        MultiInput(3, PARTS)
    with pytest.raises(ValueError, match=r"obs \(2, 3\), want \(batch, 169\)"):
        sense()(torch.zeros(2, 3), E, 2)


@pytest.mark.parametrize("flags", [{}, {"sense": "impala", "sense.features": 8}, {"experts": 2}, {"learner": "a2c"}])
def test_a_world_of_images_and_texts_is_trained_on(flags):
    options = {"steps": 6, "batch": 2, "core.hidden_size": 6, "outer_steps": 2, "device": "cpu", "learner.horizon": 5}
    learner = build_run("gymnasium", env="toy_worlds:room", **options, **flags).learner
    assert isinstance(learner.agent.sense, MultiInput)
    before = [p.clone() for p in learner.agent.sense.parameters()]
    assert learner.update()["finite"]
    assert any(not torch.equal(a, b) for a, b in zip(before, learner.agent.sense.parameters(), strict=True))
