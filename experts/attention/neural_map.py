"""Neural map: a memory with a cell for each place, written where the agent is (Parisotto and Salakhutdinov 2017)."""

from typing import NamedTuple

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn

from experts import state as states
from experts.attention.map_shift import shift_map
from experts.core import Core, check_positive
from experts.memory_metrics import store_metrics
from experts.recurrent.gru import GRU, GRUState

LARGEST_MAP = 4096  # rows and columns


class NeuralMapState(NamedTuple):
    """State of a `NeuralMap`.

    Args:
        map: the memory, by row and column of the map.
        cell: row and column of the part of the world in which the agent is.
        y: the last output.
        read: context vector of the last step.
        write_value: what the last step wrote into the agent's cell.
        weights: weights of the last context read over the cells, row by row.
    """

    map: Float[Tensor, "B N S S C"]
    cell: Float[Tensor, "B N 2"]
    y: Float[Tensor, "B N H"]
    read: Float[Tensor, "B N C"]
    write_value: Float[Tensor, "B N C"]
    weights: Float[Tensor, "B N slots"]


class NeuralMap(Core):
    """Neural map: a two-dimensional memory that is read as a whole and written at the position of the agent.

    One step, with the input s, the map M, and the cell p at the agent's position:

        r = CNN(M);   c = sum_i softmax_i(M_i . W [s, r]) M_i;   w = GRU([s, r, c], M_p)
        M_p = w;      y = tanh(Linear([r, c, w]))

    so that what was seen at a place is found there again, however long ago it was. The position is the two numbers of
    the input from index `position` on, row and column from 0 to 1; they are clamped, and the map divides them into
    `map_size` equal parts. With a `window` the map is ego-centric: before each step it is shifted against the move of
    the agent, which is always in its center, and what leaves it is forgotten; with 2 map_size - 1 rows nothing does.
    Recipes find the index where the task names a part of its observation "position" and the sense is `broadcast`, which
    leaves it as it is.

    Each member has a map of its own. Time and memory of a step grow with map_size^2 channels, or window^2 channels.

    Args:
        input_size: D.
        hidden_size: H, of the output.
        position: index of the first of the two numbers.
        map_size: rows and columns into which the world is divided; S of a map of the world.
        window: S of an ego-centric map, odd; None: a map of the world.
        channels: C, numbers in a cell, also of r, c and w.

    Raises:
        ValueError: a size below 1, an even window, no position, or one that is not in the input.

    Source: Parisotto and Salakhutdinov 2017 (arXiv:1702.08360), section 3, with its GRU write and ego-centric map.
    """

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        *,
        position: int | None = 0,
        map_size: int = 8,
        window: int | None = None,
        channels: int = 16,
    ):
        super().__init__()
        rows = map_size if window is None else window
        check_positive(hidden_size=hidden_size, map_size=map_size, window=rows, channels=channels)
        for name, size in {"map_size": map_size, "window": rows}.items():
            if size > LARGEST_MAP:
                raise ValueError(f"{name}={size}, want at most {LARGEST_MAP}")
        if window is not None and window % 2 == 0:
            raise ValueError(f"window={window}, want an odd number, as the agent is in the center of its map")
        if position is None:
            raise ValueError(
                "core 'neural_map' finds no position: want a task whose observation has a part named 'position', such "
                "as labyrinth, and the sense broadcast; or the index of its first number, --core.position 0"
            )
        if not 0 <= position <= input_size - 2:
            raise ValueError(f"position={position}, want the index of two of the {input_size} numbers of the input")
        self.input_size, self.output_size = input_size, hidden_size
        self.position, self.map_size, self.window, self.channels = position, map_size, window, channels
        self.rows = rows
        side = -(-rows // 4)  # two strides of 2
        self.summary = nn.Sequential(
            nn.Conv2d(channels, channels, 3, stride=2, padding=1),
            nn.ReLU(),
            nn.Conv2d(channels, channels, 3, stride=2, padding=1),
            nn.ReLU(),
            nn.Flatten(),
            nn.Linear(channels * side**2, channels),
        )
        self.query = nn.Linear(input_size + channels, channels)
        self.write = GRU(input_size + 2 * channels, channels)
        self.out = nn.Linear(3 * channels, hidden_size)

    def initial_state(self, x: Float[Tensor, "B N D"]) -> NeuralMapState:
        lead, size = x.shape[:2], self.rows
        return NeuralMapState(
            x.new_zeros(*lead, size, size, self.channels),
            x.new_zeros(*lead, 2),
            x.new_zeros(*lead, self.output_size),
            x.new_zeros(*lead, self.channels),
            x.new_zeros(*lead, self.channels),
            x.new_zeros(*lead, size**2),
        )

    def forward(
        self, x: Float[Tensor, "B N D"], state: NeuralMapState, present: Bool[Tensor, "B N"] | None = None
    ) -> tuple[Float[Tensor, "B N H"], NeuralMapState]:
        cell = self._cell(x)
        old_map = state.map if self.window is None else shift_map(state.map, cell - state.cell)
        images = old_map.flatten(0, 1).permute(0, 3, 1, 2)  # (B * N, C, S, S)
        summary = self.summary(images).unflatten(0, x.shape[:2])
        cells = old_map.flatten(2, 3)  # (B, N, S * S, C)
        query = self.query(torch.cat([x, summary], -1)).unsqueeze(-1)
        weights = torch.softmax((cells @ query).squeeze(-1), -1)
        context = (weights.unsqueeze(-2) @ cells).squeeze(-2)
        here = self._here(cell)
        written, _ = self.write(torch.cat([x, summary, context], -1), GRUState((old_map * here).sum((2, 3))))
        y = torch.tanh(self.out(torch.cat([summary, context, written], -1)))
        new_map = torch.where(here, written[:, :, None, None], old_map)
        new = NeuralMapState(new_map, cell, y, context, written, weights.detach())
        new = new if present is None else states.where(present, new, state)
        return new.y, new

    def _cell(self, x: Tensor) -> Float[Tensor, "B N 2"]:
        """Row and column of the part of the world in which the agent is."""
        place = x[..., self.position : self.position + 2].detach().clamp(0, 1) * self.map_size
        return place.floor().clamp(max=self.map_size - 1)

    def _here(self, cell: Tensor) -> Bool[Tensor, "B N S S 1"]:
        """The cell of the map at the agent's position."""
        center = torch.full_like(cell, self.rows // 2) if self.window else cell
        row, column = center.unsqueeze(-1).unbind(-2)  # (B, N, 1)
        cells = torch.arange(self.rows, device=cell.device)
        return ((row == cells).unsqueeze(-1) & (column == cells).unsqueeze(-2)).unsqueeze(-1)

    def metrics(self, state: NeuralMapState) -> dict[str, Float[Tensor, " B"]]:
        """Metrics of `experts.memory_metrics` for the cells of the map, mean over members."""
        cells, lead = state.map.flatten(2, 3).flatten(0, 1), state.y.shape[:2]
        metrics = store_metrics(cells, (cells != 0).any(-1), state.weights.flatten(0, 1).unsqueeze(1))
        return {name: number.view(lead).mean(1) for name, number in metrics.items()}

    def read_weights(self, state: NeuralMapState) -> Float[Tensor, "B N slots"]:
        """Weights of the last context read over the cells, row by row."""
        return state.weights
