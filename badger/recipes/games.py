"""Games of many experts that act together."""

from functools import partial

from badger import sense
from badger.recipes.flags import recipe
from badger.recipes.memories import MemoryFlags
from badger.recipes.settings import Setup
from badger.runs.run import Run
from comms import get_by_name
from experts import CORES, CPC, GRU, Core, Reconstruction
from tasks import GuessingGame, IntOrRange, PooledRecall, RandomSizes, RepeatPrevious


@recipe()
def guessing_game(
    setup: Setup,
    memories: MemoryFlags,
    *,
    dims: IntOrRange = 4,
    steps: IntOrRange = 20,
    hidden_size: int = 64,
    cpc: float = 0.0,
    reconstruction: float = 0.0,
) -> Run:
    """Experts find a hidden vector when told only the error of their last guess (Andersson 2020).

    Args:
        dims: numbers to be guessed; two numbers: a range, drawn anew for each outer step.
        steps: guesses in an episode; two numbers: a range, drawn anew for each outer step.
        hidden_size: of an expert's GRU.
        cpc: weight of contrastive predictive coding of what is sensed and heard; 0: none.
        reconstruction: weight of the reconstruction of what is sensed and heard; 0: none.
    """
    remember = memories.core_factory(partial(GRU, hidden_size=hidden_size), setup.experts)
    heard = GuessingGame().obs_size + (0 if setup.bus == "silent" else setup.message_size)  # an input less its identity
    auxiliary = {name: weight for name, weight in {"cpc": cpc, "reconstruction": reconstruction}.items() if weight}
    auxiliary |= memories.auxiliary_weights

    def core(size: int) -> Core:
        made = remember(size)
        made = CPC(made, target_size=heard) if cpc else made
        return Reconstruction(made, target_size=heard) if reconstruction else made

    senses = partial(sense.Scaled, scale=2 / 3)  # of four dimensions, the sum of squared errors
    tasks = RandomSizes(GuessingGame(), {"dims": dims, "steps": steps}).simplify()
    return setup.make_run(tasks, core, make_sense=senses, auxiliary=auxiliary)


@recipe(act="readout", lr=3e-3, outer_steps=500)
def repeat_previous(
    setup: Setup, *, k: int = 4, symbols: int = 4, steps: int = 16, hidden_size: int = 32, core: str = "gru"
) -> Run:
    """Experts name the symbol that was shown k steps ago (Morad et al. 2023): supervised, through logits.

    Args:
        k: how far back.
        symbols: how many there are.
        steps: symbols shown in an episode.
        hidden_size: of an expert's core.
        core: of an expert; `badger list` names all.
    """
    make = get_by_name(CORES, core, "core")
    return setup.make_run(RepeatPrevious(k=k, symbols=symbols, steps=steps), lambda size: make(size, hidden_size))


@recipe(act="mean", bus="silent", identity_size=2, lr=1e-2, outer_steps=400, memory="shared")
def pooled_recall(
    setup: Setup,
    memories: MemoryFlags,
    *,
    values: int = 4,
    steps: int = 8,
    num_queries: int = 4,
    hidden_size: int = 32,
) -> Run:
    """Experts are asked for what any of them has seen, and have no time to ask around: sharing a memory must help.

    Args:
        values: that there are to be told apart.
        steps: pairs shown to each expert, and questions.
        num_queries: questions.
        hidden_size: of an expert's GRU.
    """
    core = memories.core_factory(partial(GRU, hidden_size=hidden_size), setup.experts)
    if not isinstance(setup.experts, int):
        raise ValueError(f"experts={setup.experts}, want one number: so many are shown something")
    task = PooledRecall(steps=steps, experts=setup.experts, values=values, num_queries=num_queries)
    return setup.make_run(task, core, make_sense=sense.PerExpert, auxiliary=memories.auxiliary_weights)
