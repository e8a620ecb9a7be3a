"""Recurrent cores and memories: the network of one expert, which all experts of an agent share.

A core maps `(x, state) -> (y, state)`. Its state is a value: it is passed in and returned, and never kept on `self`.

- `experts.core`: the base class `Core`, and `Private`, which gives each member of a batch a store of its own.
- `experts.recurrent`: GRU, LSTM, cores without memory as controls, and AMRL.
- `experts.episodic`: memories that store a row at each step and read the rows most similar to a query.
- `experts.fast_weights`: memories that are written by changing weights: a neural memory, plastic connections.
- `experts.dnc`: the differentiable neural computer. `experts.ntm`: the neural Turing machine.
- `experts.relational`: slots that attend to each other (relational memory core, working memory graph).
- `experts.hcam`: chunks of the past, of which a read chooses some, and then steps within them.
- `experts.sparse`: large memories of which a step touches few slots (SAM, SDNC).
- `experts.attention`: windows, GTrXL, a look-up table.
- `experts.belief`: the exact belief of a known model, learned beliefs of particles (DPFRL, DVRL) and of a latent state
  (DVBF), a memory of latents (MERLIN), and predictive state representations.
- `experts.world_model`: the recurrent state-space model (RSSM) and the MDN-RNN of World Models, in which an agent can
  act in imagination.
- `experts.cores`: the registry `CORES`, factories with plain options.
- `experts.auxiliary`: auxiliary losses around any core.
- `experts.trajectory`: transformers over recorded steps: one that plans (Trajectory Transformer), and one that is asked
  for a distribution of rewards (Generalised Decision Transformer).
- `experts.unrolled`: any core as a drop-in for `nn.GRU`. `experts.state`: functions on states.
- `experts.random_key`: the random numbers of cores that draw, from a seed and a counter in the state.
- `experts.memory_metrics`: slots used, duplicate rows, entropy of read weights.
- `experts.activation_gradients`: for backward passes written by hand.

`CORES` has every core by name. A core of your own is one file with a `Core`, and a line in `CORES`.

```python
from functools import partial
import torch
from experts import GRU, EpisodicMemory, Private

core = Private(EpisodicMemory(3, partial(GRU, hidden_size=8), slots=16, top_k=4))
x = torch.randn(2, 5, 3)  # 2 episodes, 5 experts, 3 inputs
state = core.initial_state(x)
y, state = core(x, state)
assert y.shape == (2, 5, 8)
```
"""

from experts import state
from experts.attention.decision_transformer import DecisionTransformer
from experts.attention.gtrxl import GTrXL
from experts.attention.lookup_table import LookupTable
from experts.attention.mqn import MQN
from experts.attention.neural_map import NeuralMap
from experts.attention.return_to_go import set_target_return, target_return, with_return_to_go
from experts.attention.window import Window
from experts.auxiliary.contrastive_predictive import CPC
from experts.auxiliary.predictive_decoder import PSD
from experts.auxiliary.reconstruction import Reconstruction
from experts.belief.exact import BeliefFilter, ExactBelief
from experts.belief.kalman import KalmanBelief, KalmanFilter
from experts.belief.particle import ParticleFilter
from experts.belief.psr import PSR, PSRFilter
from experts.belief.rpsp import RPSP
from experts.core import Core, Private, default_loss_weights
from experts.cores import CORES, ControlledMemory
from experts.dnc.core import DNC
from experts.episodic.both import private_and_shared
from experts.episodic.clustered import ClusteredMemory
from experts.episodic.memory import EpisodicMemory
from experts.episodic.row_log import RowLog
from experts.episodic.tagged import TaggedMemory
from experts.episodic.top_k_read import TopKAttention
from experts.fast_weights.neural_memory import NeuralMemory
from experts.fast_weights.plastic import Plastic
from experts.hcam.core import HCAM
from experts.ntm.core import NTM
from experts.random_key import RandomKey, initial_key, random_seeds, seeded, with_random_seeds
from experts.recurrent.amrl import AMRL
from experts.recurrent.feedforward import Feedforward, Linear
from experts.recurrent.gru import GRU
from experts.recurrent.lstm import LSTM
from experts.relational.relational_memory import RelationalMemory
from experts.relational.working_memory_graph import WorkingMemoryGraph
from experts.sparse.sam import SAM
from experts.sparse.sdnc import SDNC
from experts.state import State
from experts.trajectory.core import TrajectoryTransformer
from experts.trajectory.generalized import GeneralizedDT, ask_for_rewards
from experts.trajectory.layout import StepLayout
from experts.unrolled import Unrolled
from experts.world_model.base import WorldModel
from experts.world_model.mdn_rnn import MDNRNN
from experts.world_model.rssm import RSSM

__all__ = [
    "AMRL",
    "CORES",
    "CPC",
    "DNC",
    "GRU",
    "HCAM",
    "LSTM",
    "MDNRNN",
    "MQN",
    "NTM",
    "PSD",
    "PSR",
    "RPSP",
    "RSSM",
    "SAM",
    "SDNC",
    "BeliefFilter",
    "ClusteredMemory",
    "ControlledMemory",
    "Core",
    "DecisionTransformer",
    "EpisodicMemory",
    "ExactBelief",
    "Feedforward",
    "GTrXL",
    "GeneralizedDT",
    "KalmanBelief",
    "KalmanFilter",
    "Linear",
    "LookupTable",
    "NeuralMap",
    "NeuralMemory",
    "PSRFilter",
    "ParticleFilter",
    "Plastic",
    "Private",
    "RandomKey",
    "Reconstruction",
    "RelationalMemory",
    "RowLog",
    "State",
    "StepLayout",
    "TaggedMemory",
    "TopKAttention",
    "TrajectoryTransformer",
    "Unrolled",
    "Window",
    "WorkingMemoryGraph",
    "WorldModel",
    "ask_for_rewards",
    "default_loss_weights",
    "initial_key",
    "private_and_shared",
    "random_seeds",
    "seeded",
    "set_target_return",
    "state",
    "target_return",
    "with_random_seeds",
    "with_return_to_go",
]
