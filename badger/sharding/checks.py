"""Which agents can be spread over several processes, and in what words others are refused.

Shapes: T step, B episode, N member, D input.
"""

import copy
import inspect

import torch
from jaxtyping import Float
from torch import Tensor

from badger import distributed
from badger.act import Act
from badger.agent import Agent
from comms import Bus, Delayed, Noisy, PerEpisode, Workspace
from experts import Core

PROBE_STEPS = 20  # more than a chunk or a window of any core has by default
MEMBERS_INTERACT = "want a core whose experts have their own memories, such as episodic, gru or dnc"


def check_shardable(agent: Agent, fewest: int) -> None:
    """Checks that an agent can be spread over the processes of this run, with the results of one process.

    Args:
        agent: the agent.
        fewest: the smallest number of experts that it will have.

    Raises:
        ValueError: fewer experts than processes; a core whose experts share a memory; a bus or an output head that
            needs all experts in one process; a topology of each episode with a bus that draws edges or pools experts.
    """
    processes = distributed.world_size()
    if fewest < processes:
        raise ValueError(
            f"shard_experts=True: {processes} processes for experts={fewest}, want at least one expert for each process"
        )
    if members_interact(agent.core):
        raise ValueError(f"shard_experts=True: the experts share the memory of {_name(agent.core)}; {MEMBERS_INTERACT}")
    _check_bus(agent)
    for head in agent.act.modules():
        if isinstance(head, Act) and type(head).forward_sharded is Act.forward_sharded:
            raise ValueError(
                f"shard_experts=True: act {type(head).__name__} needs all experts in one process (it has no "
                "forward_sharded); want named_outputs, random_owners, round_robin, mean, dueling or readout"
            )


def members_interact(core: Core) -> bool:
    """Whether a member computes something else beside another one than alone, tried with random inputs.

    Args:
        core: any core.
    """
    core = copy.deepcopy(core).to("cpu", torch.float64)
    xs = torch.randn(PROBE_STEPS, 1, 2, core.input_size, generator=torch.Generator().manual_seed(0)).double()
    together, first, second = (_outputs_and_losses(core, part) for part in (xs, xs[:, :, :1], xs[:, :, 1:]))
    alone = [torch.cat([first[0], second[0]], 2), *((a + b) / 2 for a, b in zip(first[1:], second[1:], strict=True))]
    return not all(torch.allclose(a, b, rtol=1e-6, atol=1e-9) for a, b in zip(together, alone, strict=True))


@torch.no_grad()
def _outputs_and_losses(core: Core, xs: Float[Tensor, "T B N D"]) -> list[Tensor]:
    """The outputs (T, B, N, Y), and each auxiliary loss after the last step."""
    state, ys = core.initial_state(xs[0]), []
    for x in xs:
        y, state = core(x, state)
        ys.append(y)
    return [torch.stack(ys), *core.losses(state).values()]


def _check_bus(agent: Agent) -> None:
    buses = [bus for bus in agent.bus.modules() if isinstance(bus, Bus)]
    for bus in buses:
        if "shard" not in inspect.signature(bus.forward).parameters:
            raise ValueError(
                f"shard_experts=True: bus {type(bus).__name__} works in one process only: its forward has no parameter "
                "shard (comms.Bus.forward)"
            )
    pools = any(isinstance(bus, Workspace) for bus in buses)
    if pools and not isinstance(agent.bus, Workspace):
        raise ValueError(
            f"shard_experts=True: a Workspace inside of {type(agent.bus).__name__} needs all experts in one process; "
            "want a Workspace alone, or another bus"
        )
    drops = [bus for bus in buses if isinstance(bus, Noisy) and bus.drop]
    if any(isinstance(inner, Delayed) for bus in drops for inner in bus.modules()):
        raise ValueError(
            "shard_experts=True: a Noisy around a Delayed needs all experts in one process; want the reverse"
        )
    if isinstance(agent.topology, PerEpisode) and (pools or drops):
        raise ValueError(
            f"shard_experts=True: bus {type(agent.bus).__name__} with a topology that is drawn for each episode needs "
            "all experts in one process; want one that is the same in each episode, or another bus"
        )


def _name(core: Core) -> str:
    parts = [type(part).__name__ for part in core.modules() if isinstance(part, Core)]
    return f"core {parts[0]}" if len(parts) == 1 else f"core {parts[0]} (with {', '.join(parts[1:])})"
