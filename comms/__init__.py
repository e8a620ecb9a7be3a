"""Who hears whom: topologies of experts, and the buses that carry their messages."""

from collections.abc import Callable

from comms.attention import Attention
from comms.bus import Bus, Delivery, Silent, State
from comms.delayed import Delayed
from comms.gated import Gated
from comms.generators import TOPOLOGIES, EdgeList
from comms.lookup import pick
from comms.mean import Mean
from comms.noisy import Noisy
from comms.surgery import join, lesion, mask, silence
from comms.topology import Edges, Topology, changed, connect, edge_list, loudest, repeat
from comms.workspace import Workspace

# (input_size, message_size) -> Bus
BUSES: dict[str, Callable[[int, int], Bus]] = {
    "silent": lambda input_size, message_size: Silent(input_size),  # its inbox is empty whatever is asked for
    "mean": Mean,
    "attention": Attention,
    "gated": lambda input_size, message_size: Gated(Attention(input_size, message_size)),
    "workspace": Workspace,
    "delayed": lambda input_size, message_size: Delayed(Attention(input_size, message_size)),
    "noisy": lambda input_size, message_size: Noisy(Attention(input_size, message_size)),
}

__all__ = [
    "BUSES",
    "TOPOLOGIES",
    "Attention",
    "Bus",
    "Delayed",
    "Delivery",
    "EdgeList",
    "Edges",
    "Gated",
    "Mean",
    "Noisy",
    "Silent",
    "State",
    "Topology",
    "Workspace",
    "changed",
    "connect",
    "edge_list",
    "join",
    "lesion",
    "loudest",
    "mask",
    "pick",
    "repeat",
    "silence",
]
