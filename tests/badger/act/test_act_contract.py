"""Every output head by name, wrapped and not, keeps the contract; the contract detects broken ones."""

from functools import partial

import pytest
import torch

from badger import ACTS, act
from badger.act import Mean
from badger.testing import ACT_PROPERTIES, ContractError, check_act

MAKE = dict(ACTS) | {
    f"{name} with a critic": partial(lambda make, y, d: act.WithCritic(make(y, d)), make) for name, make in ACTS.items()
}


@pytest.mark.parametrize("name", MAKE)
@pytest.mark.parametrize("holds", ACT_PROPERTIES)
def test_every_output_head_keeps_the_contract(name, holds):
    ACT_PROPERTIES[holds](MAKE[name])


def changed(change) -> type[Mean]:
    """A head whose action is changed: (action, y, present) -> action."""

    class Changed(Mean):
        def forward(self, y, assignment, present):
            return change(super().forward(y, assignment, present), y, present)

    return Changed


class Random(Mean):
    def make_assignment(self, like, experts, outputs, rng):
        return torch.rand(len(like), outputs, experts)


class Named(Mean):
    name_size = 3


class FixedSize(Mean):
    def extend_assignment(self, assignment, like, experts, rng):
        raise RuntimeError("experts cannot be added")


BROKEN = {
    "every_size_makes_one_action": changed(lambda action, y, present: action.double()),
    "rows_do_not_leak": changed(lambda action, y, present: action + action.mean()),
    "gradient_reaches_every_expert": changed(lambda action, y, present: action * 0 + y[:, 0, :2]),
    "all_present_equals_present_none": changed(lambda action, y, present: action + (present is None)),
    "absent_experts_are_masked_out": changed(lambda action, y, present: action + y[:, 1, :2]),
    "actions_are_finite_without_experts": changed(
        lambda action, y, present: action if present is None else action / present.sum(1, keepdim=True)
    ),
    "the_same_generator_gives_the_same_assignment": Random,
    "names_have_their_size": Named,
    "experts_can_be_added": FixedSize,
    "actions_are_made_on_the_meta_device": changed(lambda action, y, present: action if y.any() else -action),
}


@pytest.mark.parametrize("holds", ACT_PROPERTIES)
def test_the_contract_catches_a_broken_output_head(holds):
    with pytest.raises(ContractError, match=rf"(?s)^{holds}: want .*, got "):
        ACT_PROPERTIES[holds](BROKEN[holds])


def test_the_contract_lets_a_sound_output_head_pass():
    check_act(Mean)
