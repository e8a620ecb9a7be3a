"""Studies of teams in worlds of PettingZoo that are not ours: what the bus is good for."""

from typing import Any

from badger.study.study import Arm, Quick, Study

# Settings were looked for on seeds from 100 on (notebooks/LOG.md); both arms have the same but for the bus.
TEAM: dict[str, Any] = {
    "env": "mpe2.simple_speaker_listener_v4", "steps": 25, "identity_size": 0, "message_size": 8, "hidden_size": 32,
    "learner": "ppo", "batch": 64, "lr": 5e-3, "gamma": 0.8, "reward_scale": 0.3, "outer_steps": 200,
}  # fmt: skip

SPEAKER_LISTENER = Study(
    name="speaker-listener",
    claim="Speaker and listener get a better return when they talk over the bus, too, than by the world's words alone.",
    arms={"talking": Arm("pettingzoo", TEAM), "silent": Arm("pettingzoo", TEAM | {"bus": "silent"})},
    score="reward",
    threshold=-15.0,  # who goes to the middle of the landmarks, knowing nothing, gets -17; who knows the right one -8
    milestones=(100,),
    episodes=256,
    seeds=5,
    quick=Quick(arguments={"hidden_size": 8, "batch": 4, "outer_steps": 3}, milestones=(), episodes=8),
)

ZOO_STUDIES = (SPEAKER_LISTENER,)
