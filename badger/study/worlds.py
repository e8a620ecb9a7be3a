"""Studies of agents that learn by reward in worlds that people know."""

from badger.study.study import Arm, Quick, Study

CARTPOLE = Study(
    name="cartpole",
    claim="Without velocities, an expert that remembers balances the pole for 450 of 500 steps within 100,000 steps of "
    "the world; one without a memory does not.",
    arms={"gru": Arm("cartpole", {"core": "gru"}), "memoryless": Arm("cartpole", {"core": "none"})},
    score="reward",
    threshold=200.0,  # in training, where choices are drawn
    milestones=(48, 97),  # 49,152 and 99,328 steps
    episodes=100,
    seeds=5,
    quick=Quick(
        arguments={"batch": 4, "hidden_size": 8, "outer_steps": 2}, milestones=(1,), episodes=8, threshold=25.0
    ),
)

WORLD_STUDIES = (CARTPOLE,)
