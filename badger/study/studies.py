"""The project's own studies. To add one is to add its lines here; its runs and its report follow from them."""

from badger.registry import register, resolve_name
from badger.study.recordings.offline import OFFLINE_STUDIES
from badger.study.simulations import SIMULATIONS, Simulation
from badger.study.studies_evolution import EVOLUTION
from badger.study.studies_external import EXTERNAL_ENV_STUDIES
from badger.study.studies_memory import MEMORY_STUDIES
from badger.study.studies_rl import RL_MEMORY_STUDIES
from badger.study.study import Arm, QuickOverrides, Study

MEMORY_HELPS = Study(
    name="memory-helps",
    claim="Experts with an episodic memory solve the guessing game in fewer outer steps than without.",
    arms={
        core: Arm("guessing_game", {"core": core}) for core in ("gru", "episodic", "episodic_shared", "episodic_both")
    },
    score="final_error",
    threshold=0.1,
    milestones=(800, 1500),
    quick=QuickOverrides(
        arguments={
            "dims": 2, "experts": 2, "steps": 8, "core.hidden_size": 32, "core.slots": 8, "batch": 32, "lr": 4e-3,
            "outer_steps": 500,
        },
        milestones=(250,),
    ),
)  # fmt: skip

EPOCH = 391  # outer steps of 128 images in 50,000

SEQUENTIAL_MNIST = Study(
    name="sequential-mnist",
    claim="An LSTM with an episodic memory makes half the errors of the LSTM alone, at 5, 10 and 20 epochs.",
    arms={core: Arm("sequential_mnist", {"core": core, "outer_steps": 20 * EPOCH}) for core in ("lstm", "episodic")},
    score="error",
    threshold=0.05,  # 95 % right
    milestones=(5 * EPOCH, 10 * EPOCH, 20 * EPOCH),
    episodes=None,
    evaluations={"test": {"split": "test"}, "validation": {"split": "validation"}},
    seeds=3,
    quick=QuickOverrides(
        arguments={"pixels": 28, "core.hidden_size": 32, "core.slots": 28, "core.key_size": 16, "outer_steps": 300},
        milestones=(100,),
        episodes=None,
        threshold=0.6,
    ),
)

SYMMETRY = Study(
    name="symmetry",
    claim="Experts that observe an ID of their output leave the plateau as soon as few experts do, however many.",
    arms={
        f"{head}-{experts}": Arm(
            "guessing_game",
            {
                "act": head, "experts": experts, "dims": 3, "core.hidden_size": 32, "bus": "mean", "batch": 32,
                "outer_steps": 800,
            },
        )
        for experts in (3, 9, 27)
        for head in ("round_robin", "random_owners", "readout", "named_outputs")
    },
    score="final_error",
    threshold=0.3,
    seeds=3,
    quick=QuickOverrides(arguments={"outer_steps": 60, "steps": 8, "batch": 8, "core.hidden_size": 8}, milestones=()),
)  # fmt: skip

LEARNING_SPEED = Study(
    name="learning-speed",
    claim="Twenty experts learn three dimensions, with both numbers free after training, in 2,500 outer steps of 100.",
    arms={
        "named_outputs": Arm(
            "guessing_game",
            {"experts": 20, "dims": 3, "batch": 100, "core.hidden_size": 32, "bus": "mean", "outer_steps": 2500},
        )
    },
    score="final_error",
    threshold=0.3,
    milestones=(1000, 2000),
    seeds=3,
    quick=QuickOverrides(arguments={"experts": 6, "batch": 16, "outer_steps": 100}, milestones=(50,)),
)

SHARING = Study(
    name="sharing",
    claim="Where experts observe different parts of what is queried, a shared memory answers what private ones cannot.",
    arms={
        core: Arm("pooled_recall", {"core": core}) for core in ("gru", "episodic", "episodic_shared", "episodic_both")
    },
    score="accuracy",
    threshold=0.9,
    seeds=5,
    quick=QuickOverrides(arguments={"outer_steps": 60, "core.hidden_size": 16, "batch": 16}, milestones=()),
)

IMPROVEMENTS = Study(
    name="memory-improvements",
    claim="What clustering of rows and auxiliary losses add to a private memory.",
    arms={
        core: Arm("guessing_game", {"core": core})
        for core in ("episodic", "clustered", "episodic_cpc", "episodic_reconstruction")
    },
    score="final_error",
    threshold=0.1,
    seeds=3,
    quick=QuickOverrides(
        arguments={
            "dims": 2,
            "experts": 2,
            "steps": 8,
            "core.hidden_size": 16,
            "core.slots": 8,
            "batch": 16,
            "outer_steps": 60,
        },
        milestones=(),
    ),
)

NOISY_RECALL = Study(
    name="noisy-recall",
    claim="With noisy observations and few slots, auxiliary losses and clustering of rows help an episodic memory.",
    arms={
        core: Arm("noisy_recall", {"core": core})
        for core in ("episodic", "clustered", "episodic_cpc", "episodic_reconstruction")
    },
    score="error",
    threshold=0.2,
    seeds=5,
    quick=QuickOverrides(
        arguments={"items": 2, "size": 8, "core.hidden_size": 16, "batch": 8, "outer_steps": 20}, milestones=()
    ),
)

GENERALIZATION = Study(
    name="generalization",
    claim="Agents that are trained on 3 to 6 dimensions with 5 to 40 experts act with 1 to 19, and with 1 to 76.",
    arms={
        "episodic": Arm(
            "guessing_game",
            {
                "experts": (5, 40), "dims": (3, 6), "steps": (20, 25), "core": "episodic", "core.hidden_size": 32,
                "core.slots": 1024, "bus": "silent", "batch": 64, "outer_steps": 4000,
                "sense.power": 1.0, "sense.scale": 1 / 3, "sense.max_outputs": 6,  # sums of squares; LOG
            },
        )
    },
    score="final_error",
    threshold=0.3,
    episodes=256,
    evaluations={f"{dims} dims": {"dims": dims, "experts": 20, "steps": 20} for dims in (6, 1, 2, 3, 4, 8, 10, 15, 19)}
    | {f"{experts} experts": {"dims": 6, "experts": experts, "steps": 20} for experts in (1, 6, 16, 31, 51, 76)},
    seeds=3,
    quick=QuickOverrides(
        arguments={"batch": 8, "core.hidden_size": 8, "core.slots": 32, "outer_steps": 4}, milestones=(), episodes=8
    ),
)  # fmt: skip

STUDIES: dict[str, Study] = register(
    "studies",
    [
        (study.name, study)
        for study in (
            MEMORY_HELPS, SEQUENTIAL_MNIST, SHARING, IMPROVEMENTS, NOISY_RECALL, SYMMETRY, LEARNING_SPEED,
            GENERALIZATION, EVOLUTION, *MEMORY_STUDIES, *RL_MEMORY_STUDIES, *EXTERNAL_ENV_STUDIES, *OFFLINE_STUDIES,
        )
    ],
)  # fmt: skip
"""Studies by name."""


def find_study(name: str) -> Study | Simulation:
    """The study with a name, or a user's own `module:STUDY`.

    Args:
        name: key of `STUDIES` or `SIMULATIONS`, or `module:STUDY`.

    Raises:
        ValueError: there is no such study or module.
    """
    known: dict[str, Study | Simulation] = {**STUDIES, **SIMULATIONS}
    return resolve_name(known, name, "study", lambda found: isinstance(found, Study | Simulation))
