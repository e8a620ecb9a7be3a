"""Buses by name: factories `(input_size, message_size, *, options) -> Bus` whose options have plain types."""

from collections.abc import Callable

from comms.attention import Attention
from comms.bus import Bus, Silent
from comms.delayed import Delayed
from comms.gated import Gated
from comms.mean import Mean
from comms.noisy import Noisy
from comms.workspace import Workspace


def silent(input_size: int, message_size: int = 0) -> Bus:
    """No communication: the inbox is empty, whatever message size is given."""
    return Silent(input_size)


def gated(input_size: int, message_size: int, *, heads: int = 1, key_size: int = 16) -> Bus:
    """Attention whose senders choose whether to speak (IC3Net)."""
    return Gated(Attention(input_size, message_size, heads=heads, key_size=key_size))


def delayed(input_size: int, message_size: int, *, steps: int = 1, heads: int = 1, key_size: int = 16) -> Bus:
    """Attention whose messages arrive some steps later."""
    return Delayed(Attention(input_size, message_size, heads=heads, key_size=key_size), steps)


def noisy(
    input_size: int, message_size: int, *, drop: float = 0.1, noise: float = 0.0, heads: int = 1, key_size: int = 16
) -> Bus:
    """Attention whose messages are dropped at random, or have noise added."""
    return Noisy(Attention(input_size, message_size, heads=heads, key_size=key_size), drop=drop, noise=noise)


BUSES: dict[str, Callable[..., Bus]] = {
    "silent": silent,
    "mean": Mean,
    "attention": Attention,
    "gated": gated,
    "workspace": Workspace,
    "delayed": delayed,
    "noisy": noisy,
}
"""Buses by name, each a factory `(input_size, message_size, *, options) -> Bus`."""
