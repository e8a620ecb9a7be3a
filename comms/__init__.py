"""Communication between experts: graphs, and buses that deliver messages along their edges.

- `comms.bus`: the base class `Bus`, `Delivery`, and `Silent` for agents that do not communicate.
- `comms.mean` (CommNet), `comms.attention` (TarMAC), `comms.workspace` (a global workspace): buses.
- `comms.attention_step`: attention on dense graphs by a kernel in C (`experts.kernels`), where there is one.
- `comms.gated` (IC3Net), `comms.delayed`, `comms.noisy`: wrappers around any bus.
- `comms.generators`: `TOPOLOGIES` by name: complete, ring, grid, star, small world and others, for 100,000 experts too.
- `comms.per_episode`: a random topology that is drawn anew for each episode.
- `comms.topology`: a name, a networkx graph, an `EdgeList` or a function of the number of experts becomes `Edges`.
- `comms.surgery`: lesions, silenced experts and added experts, as functions of the edges.
- `comms.sharding`: the experts of one agent spread over several processes: who is where, and what is sent.
- `comms.edge_softmax` and `comms.edge_layouts`: softmax over incoming edges, in three layouts with equal results.

`BUSES` has every bus by name. To add a bus, write one file with a subclass of `Bus` and one line in `BUSES`.

```python
import torch
from comms import Attention, make_edges

bus = Attention(8, message_size=4)
y = torch.randn(2, 5, 8)  # 2 episodes, 5 experts, 8 outputs of each
edges = make_edges("ring", 5, 2, y)
delivery, state = bus(y, edges, bus.initial_state(y), None)
assert delivery.inbox.shape == (2, 5, 4)
assert delivery.num_messages.tolist() == [10, 10]  # a ring of 5 experts has 10 directed edges
```
"""

from comms.attention import Attention
from comms.bus import Bus, Delivery, Silent, State
from comms.buses import BUSES
from comms.delayed import Delayed
from comms.gated import Gated
from comms.generators import TOPOLOGIES, EdgeList
from comms.lookup import get_by_name
from comms.mean import Mean
from comms.noisy import Noisy
from comms.per_episode import PerEpisode, select_graphs, where_edges
from comms.surgery import connect_new_experts, lesion, mask_absent, silence
from comms.topology import Edges, Topology, edge_list, expand_batch, make_edges, map_edges, max_edge_weights
from comms.workspace import Workspace

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
    "PerEpisode",
    "Silent",
    "State",
    "Topology",
    "Workspace",
    "connect_new_experts",
    "edge_list",
    "expand_batch",
    "get_by_name",
    "lesion",
    "make_edges",
    "map_edges",
    "mask_absent",
    "max_edge_weights",
    "select_graphs",
    "silence",
    "where_edges",
]
