"""The project's own studies. To add one is to add its lines here; its runs and its report follow from them."""

from badger.study.study import Arm, Quick, Study

MEMORY_HELPS = Study(
    name="memory-helps",
    claim="Experts with an episodic memory solve the guessing game in fewer outer steps, and better, than without.",
    arms={memory: Arm("guessing_game", {"memory": memory}) for memory in ("none", "private", "shared")},
    score="final_error",
    threshold=0.1,
    milestones=(800, 1500),
    quick=Quick(
        arguments={
            "dims": 2, "experts": 2, "steps": 8, "hidden_size": 32, "slots": 8, "batch": 32, "lr": 4e-3,
            "outer_steps": 500,
        },
        milestones=(250,),
    ),
)  # fmt: skip

STUDIES: dict[str, Study] = {study.name: study for study in (MEMORY_HELPS,)}
"""Studies by name."""
