"""Cores by name: factories `(input_size, hidden_size, *, options) -> Core` whose options have plain types.

A memory class takes its controller as a factory, which no command line can hold. `ControlledMemory` makes of the class
a factory that takes the controller's name and size instead; all other options are those of the class's signature.
"""

import inspect
from collections.abc import Callable
from functools import partial
from typing import Any, get_type_hints

from experts.attention.decision_transformer import DecisionTransformer
from experts.attention.gtrxl import GTrXL
from experts.attention.lookup_table import LookupTable
from experts.attention.mqn import MQN
from experts.attention.neural_map import NeuralMap
from experts.attention.window import Window
from experts.auxiliary.contrastive_predictive import CPC
from experts.auxiliary.predictive_decoder import PSD
from experts.auxiliary.reconstruction import Reconstruction
from experts.belief.exact import ExactBelief
from experts.belief.kalman import KalmanBelief
from experts.belief.model import EXAMPLE, LINEAR_EXAMPLE
from experts.belief.pfgru import dpfrl
from experts.belief.psr import PSR
from experts.belief.rpsp import RPSP
from experts.belief.variational.dvbf import DVBF
from experts.belief.variational.dvrl import dvrl
from experts.belief.variational.merlin import MERLIN
from experts.core import Core, Private
from experts.dnc.core import DNC
from experts.episodic.both import private_and_shared
from experts.episodic.clustered import ClusteredMemory
from experts.episodic.memory import EpisodicMemory
from experts.episodic.tagged import TaggedMemory
from experts.fast_weights.neural_memory import NeuralMemory
from experts.fast_weights.plastic import Plastic
from experts.hcam.core import HCAM
from experts.ntm.core import NTM
from experts.recurrent.amrl import AMRL
from experts.recurrent.feedforward import Feedforward, Linear
from experts.recurrent.gru import GRU
from experts.recurrent.lstm import LSTM
from experts.relational.relational_memory import RelationalMemory
from experts.relational.working_memory_graph import WorkingMemoryGraph
from experts.sparse.sam import SAM
from experts.sparse.sdnc import SDNC
from experts.trajectory.core import TrajectoryTransformer
from experts.trajectory.generalized import GeneralizedDT
from experts.world_model.mdn_rnn import MDNRNN
from experts.world_model.rssm import RSSM


class ControlledMemory:
    """A core factory around a memory class, with the controller given by name.

    Called as `(input_size, hidden_size, *, controller, experts, options)`; the options are the keyword arguments of the
    memory and of what wraps it, with their defaults, as `inspect.signature` shows them.

    Args:
        memory: a class or function `(input_size, controller, *, options) -> Core`.
        *wrappers: applied in turn to the memory, each `(core, *, options) -> Core`, such as `Private`.
        controller: default name of the controller, one of `CORES`.
        pooled: name of an option that is given for each expert and multiplied by the number of experts, for a store
            that all experts share.
        pool_of: name of the option that holds the size of a pool beside private stores of `slots` rows each; it is set
            to slots times the number of experts.
        defaults: options with other defaults than in the memory's and wrappers' signatures.

    Raises:
        TypeError: a default that names no option.
    """

    def __init__(
        self,
        memory: Callable[..., Core],
        *wrappers: Callable[..., Core],
        controller: str = "gru",
        pooled: str | None = None,
        pool_of: str | None = None,
        **defaults: Any,
    ):
        self.memory, self.wrappers, self.pooled, self.pool_of = memory, wrappers, pooled, pool_of
        self._options = [_keyword_options(part) for part in (memory, *wrappers)]
        options = {name: p for part in self._options for name, p in part.items() if name != pool_of}
        unknown = set(defaults) - set(options)
        if unknown:
            raise TypeError(f"{sorted(unknown)} is no option of {memory.__name__}; it has {', '.join(options)}")
        own = {"controller": (str, controller), "experts": (int, 1)}
        self.__signature__ = inspect.Signature(
            [
                inspect.Parameter("input_size", inspect.Parameter.POSITIONAL_OR_KEYWORD, annotation=int),
                inspect.Parameter("hidden_size", inspect.Parameter.POSITIONAL_OR_KEYWORD, annotation=int, default=64),
                *(
                    inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, annotation=kind, default=default)
                    for name, (kind, default) in own.items()
                ),
                *(p.replace(default=defaults.get(name, p.default)) for name, p in options.items()),
            ],
            return_annotation=Core,
        )
        self.__doc__ = inspect.getdoc(memory)

    def __call__(self, *args: Any, **kwargs: Any) -> Core:
        """Builds the core.

        Raises:
            TypeError: an unknown option.
            ValueError: an unknown controller, or what the memory refuses.
        """
        bound = self.__signature__.bind(*args, **kwargs)
        bound.apply_defaults()
        given = dict(bound.arguments)
        input_size, hidden_size = given.pop("input_size"), given.pop("hidden_size")
        name, experts = given.pop("controller"), given.pop("experts")
        if name not in CORES:
            raise ValueError(f"controller={name!r}, want one of {', '.join(CORES)}")
        if self.pooled is not None:
            given[self.pooled] *= experts
        if self.pool_of is not None:
            given[self.pool_of] = given["slots"] * experts
        memory, *wrapped = ({key: given[key] for key in part if key in given} for part in self._options)
        core = self.memory(input_size, lambda size: CORES[name](size, hidden_size), **memory)
        for wrapper, options in zip(self.wrappers, wrapped, strict=True):
            core = wrapper(core, **options)
        return core


def controller_alone(input_size: int, controller: Callable[[int], Core]) -> Core:
    """The controller without a memory, for wrappers around any core.

    Args:
        input_size: D.
        controller: a factory int -> Core.
    """
    return controller(input_size)


def _keyword_options(part: Callable[..., Core]) -> dict[str, inspect.Parameter]:
    hints = get_type_hints(part.__init__ if isinstance(part, type) else part)  # type: ignore[misc]
    return {
        name: p.replace(annotation=hints[name])
        for name, p in inspect.signature(part).parameters.items()
        if p.kind is p.KEYWORD_ONLY
    }


CORES: dict[str, Callable[..., Core]] = {
    "gru": GRU,
    "lstm": LSTM,
    "feedforward": Feedforward,
    "linear": Linear,
    "episodic": ControlledMemory(EpisodicMemory, Private),
    "episodic_shared": ControlledMemory(EpisodicMemory, pooled="slots"),
    "episodic_both": ControlledMemory(private_and_shared, pool_of="shared_slots"),
    "episodic_tagged": ControlledMemory(EpisodicMemory, TaggedMemory, pooled="slots", tags=8, gate=True),
    "clustered": ControlledMemory(ClusteredMemory, Private),
    "episodic_cpc": ControlledMemory(EpisodicMemory, Private, CPC),
    "episodic_reconstruction": ControlledMemory(EpisodicMemory, Private, Reconstruction),
    "psd": ControlledMemory(controller_alone, PSD),
    "dnc": ControlledMemory(DNC, Private, controller="lstm", slots=16, slot_size=16, heads=2),
    "ntm": ControlledMemory(NTM, Private, controller="lstm", slots=16, slot_size=16),
    "sam": ControlledMemory(SAM, Private, controller="lstm", slots=64, slot_size=16, heads=2),
    "sdnc": ControlledMemory(SDNC, Private, controller="lstm", slots=64, slot_size=16, heads=2),
    "neural_memory": ControlledMemory(NeuralMemory, Private, controller="lstm", width=64),
    "neural_memory_gradient": ControlledMemory(NeuralMemory, Private, controller="lstm", width=64, rule="gradient"),
    "lookup_table": ControlledMemory(LookupTable, Private, controller="lstm", key_size=16, value_size=16),
    "amrl": ControlledMemory(AMRL, controller="lstm"),
    "gtrxl": GTrXL,
    "hcam": ControlledMemory(HCAM, controller="lstm", slots=16, chunk_size=16),
    "relational_memory": RelationalMemory,
    "working_memory_graph": WorkingMemoryGraph,
    "window": ControlledMemory(Window, controller="feedforward", slots=16),
    "mqn": ControlledMemory(MQN, controller="linear", slots=16),
    "rmqn": ControlledMemory(MQN, controller="lstm", slots=16),
    "frmqn": ControlledMemory(MQN, controller="lstm", slots=16, feedback=True),
    "neural_map": NeuralMap,
    "plastic": Plastic,
    "plastic_modulated": partial(Plastic, rule="hebb", modulated=True),
    "exact_belief": partial(ExactBelief, model=EXAMPLE),  # recipes pass the model of their task
    "psr": partial(PSR, model=EXAMPLE),
    "rpsp": RPSP,
    "kalman_filter": partial(KalmanBelief, model=LINEAR_EXAMPLE),
    "particle_filter": dpfrl,
    "dvrl": dvrl,
    "dvbf": DVBF,
    "merlin": MERLIN,
    "rssm": RSSM,
    "mdn_rnn": MDNRNN,
    "trajectory_transformer": partial(TrajectoryTransformer, layers=1, horizon=2, beam=4),  # recipes pass the layout
    "decision_transformer": DecisionTransformer,
    "generalized_dt": GeneralizedDT,
}
"""Cores by name, each a factory `(input_size, hidden_size, *, options) -> Core`."""

OF_ONE_INPUT = frozenset({"model", "layout", "position"})
"""Options that say what the input is: its probabilities, the places of action and reward, the place of the agent."""

EQUAL_ALONE = frozenset({"episodic_shared"})
"""Cores that are another one where there is one member."""


def general_memories() -> list[str]:
    """Names of the cores that remember inputs of any kind, to be compared with each other.

    All of `CORES` except those without memory, those that must know what their input is (an option of `OF_ONE_INPUT`
    that has a value), and those that equal another one where there is one member (`EQUAL_ALONE`).
    """
    return [
        name
        for name, core in CORES.items()
        if not getattr(core, "memoryless", False) and not _knows_its_input(core) and name not in EQUAL_ALONE
    ]


def _knows_its_input(core: Callable[..., Core]) -> bool:
    options = inspect.signature(core).parameters
    return any(name in options and options[name].default is not None for name in OF_ONE_INPUT)
