"""Senses without a contract of their own run on the meta device as all parts do."""

import pytest
import torch

from badger.sense import Broadcast, Embedding, PerExpert, Scaled, Team
from badger.testing import ContractError
from badger.testing.devices import META, all_on_meta, without_values

B, E, P, SIZE = 2, 4, 2, 3
SENSES = {Broadcast: (B, SIZE), Scaled: (B, SIZE), Embedding: (B, SIZE), PerExpert: (B, E, SIZE), Team: (B, P, SIZE)}


def check(make, shape):
    @without_values(lambda make: make(SIZE))
    def senses_run_on_the_meta_device(make, sense):
        obs = torch.zeros(shape, device=META, requires_grad=True)
        seen = sense(obs, E, 2)
        gradients = torch.autograd.grad(seen.sum(), [obs, *sense.parameters()])
        all_on_meta([seen, *gradients], "what is sensed and gradients")

    senses_run_on_the_meta_device(make)


@pytest.mark.parametrize("make", SENSES)
def test_every_sense_runs_on_the_meta_device(make):
    check(make, SENSES[make])


class Reads(Broadcast):
    def forward(self, obs, experts, outputs):
        return super().forward(obs / obs.max().item(), experts, outputs)


def test_a_sense_that_reads_a_value_is_caught():
    with pytest.raises(ContractError, match=r"^senses_run_on_the_meta_device: want no value read by the host"):
        check(Reads, (B, SIZE))
