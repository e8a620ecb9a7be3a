"""Every core with a controller checks its sizes, and says how to mend them."""

from functools import partial

import pytest

from badger.testing.core.stepping import unchecked
from experts import (
    AMRL,
    DNC,
    GRU,
    HCAM,
    MQN,
    NTM,
    SAM,
    SDNC,
    ClusteredMemory,
    EpisodicMemory,
    LookupTable,
    NeuralMemory,
    Window,
)
from experts.episodic.both import private_and_shared

D = 4
CORES = {
    "amrl": AMRL,
    "both": private_and_shared,
    "clustered": ClusteredMemory,
    "clustered x": partial(ClusteredMemory, row_content="x"),
    "dnc": DNC,
    "episodic": EpisodicMemory,
    "episodic x": partial(EpisodicMemory, row_content="x"),
    "episodic compressed": partial(EpisodicMemory, row_size=2),
    "lookup_table": partial(LookupTable, key_size=2, value_size=2),
    "neural_memory": NeuralMemory,
    "ntm": NTM,
    "sam": SAM,
    "sdnc": SDNC,
    "window": partial(Window, slots=2),
    "mqn": partial(MQN, slots=2),
    "frmqn": partial(MQN, slots=2, feedback=True),
    "hcam": HCAM,
}
every = pytest.mark.parametrize("make", CORES.values(), ids=CORES)


@every
def test_a_controller_that_eats_something_else_is_refused(make):
    with pytest.raises(ValueError, match=r"the controller's input_size=3, want x \d \+ read \d+ = \d+; pass a factory"):
        make(D, lambda size: GRU(3, 6))


@every
def test_a_controller_that_is_made_already_is_refused(make):
    with unchecked(), pytest.raises(TypeError, match=r"the controller is a GRU.*, want a factory int -> Core such as"):
        make(D, GRU(D, 6))


@pytest.mark.parametrize(
    "make", [EpisodicMemory, ClusteredMemory, partial(EpisodicMemory, row_size=2), private_and_shared]
)
def test_a_controller_whose_output_size_follows_from_its_input_size_is_refused_where_rows_keep_it(make):
    with pytest.raises(ValueError, match=r"output_size=\d+ for input_size=\d+, but 1 for input_size=1; want an"):
        make(D, lambda size: GRU(size, size))


def test_rows_that_keep_the_input_alone_leave_the_output_size_free():
    assert EpisodicMemory(D, lambda size: GRU(size, size), row_content="x").output_size == 2 * D
