"""Every bus by name keeps the contract, and the contract catches broken buses."""

import pytest
import torch

from badger.testing import BUS_PROPERTIES, ContractError, check_bus
from comms import BUSES, Delivery, Mean


@pytest.mark.parametrize("name", BUSES)
@pytest.mark.parametrize("holds", BUS_PROPERTIES)
def test_every_bus_keeps_the_contract(name, holds):
    BUS_PROPERTIES[holds](BUSES[name])


def changed(change) -> type[Mean]:
    """A bus whose delivery is changed: (delivery, y, edges) -> fields of the delivery."""

    class Changed(Mean):
        def forward(self, y, edges, state, rng):
            delivery, state = super().forward(y, edges, state, rng)
            return delivery._replace(**change(delivery, y, edges)), state

    return Changed


BROKEN = {
    "shapes_and_dtype_follow_the_input": lambda d, y, e: {"num_messages": d.num_messages.float().double()[:, None]},
    "rows_do_not_leak": lambda d, y, e: {"inbox": d.inbox * y.mean()},
    "experts_permute_with_their_inboxes": lambda d, y, e: {"inbox": d.inbox.cumsum(1)},
    "inactive_edges_carry_no_message": lambda d, y, e: {"inbox": d.inbox + y.mean((1, 2), keepdim=True)},
    "an_inbox_without_messages_is_zero": lambda d, y, e: {"inbox": d.inbox + 1},
    "incoming_weights_sum_to_one_or_zero": lambda d, y, e: {"weights": 0.3 * d.weights},
    "gradient_reaches_the_experts_outputs": lambda d, y, e: {"inbox": d.inbox.detach()},
    "the_same_generator_gives_the_same_delivery": lambda d, y, e: {"inbox": d.inbox + torch.rand(())},
    "without_active_edges_a_delivery_is_zero": lambda d, y, e: {"num_messages": d.num_messages + 1},
    "rounds_run_on_the_meta_device": lambda d, y, e: {"inbox": d.inbox * float(y.mean())},
}


def test_the_contract_lets_a_sound_bus_pass():
    check_bus(changed(lambda delivery, y, edges: {}))


@pytest.mark.parametrize("holds", BUS_PROPERTIES)
def test_the_contract_catches_a_broken_bus(holds):
    with pytest.raises(ContractError, match=rf"(?s)^{holds}: want .*, got "):
        BUS_PROPERTIES[holds](changed(BROKEN[holds]))


def test_a_bus_that_raises_breaks_its_contract():
    def refuse(delivery, y, edges):
        raise RuntimeError("no such graph")

    with pytest.raises(ContractError, match=r"^rows_do_not_leak: want no exception, got RuntimeError: no such graph"):
        check_bus(changed(refuse), properties=["rows_do_not_leak"])


def test_the_contract_covers_every_field_of_a_delivery():
    assert Delivery._fields == ("inbox", "weights", "num_messages", "num_floats")
