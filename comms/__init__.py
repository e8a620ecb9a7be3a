"""Who hears whom: topologies of experts, and the buses that carry their messages."""

from collections.abc import Callable

from .attention import Attention
from .bus import Bus, Delivery, Silent, State
from .gated import Gated
from .mean import Mean
from .names import pick
from .surgery import join, lesion, mask, silence
from .topology import TOPOLOGIES, EdgeList, Edges, Topology, connect, edge_list

# (input_size, message_size) -> Bus
BUSES: dict[str, Callable[[int, int], Bus]] = {
    "silent": lambda input_size, message_size: Silent(input_size),  # its inbox is empty whatever is asked for
    "mean": Mean,
    "attention": Attention,
    "gated": lambda input_size, message_size: Gated(Attention(input_size, message_size)),
}

__all__ = [
    "BUSES",
    "TOPOLOGIES",
    "Attention",
    "Bus",
    "Delivery",
    "EdgeList",
    "Edges",
    "Gated",
    "Mean",
    "Silent",
    "State",
    "Topology",
    "connect",
    "edge_list",
    "join",
    "lesion",
    "mask",
    "pick",
    "silence",
]
