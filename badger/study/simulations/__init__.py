"""Studies that train no network: curves that a function computes for each arm and seed.

- `badger.study.simulations.simulation`: `Simulation`, its definition.
- `badger.study.simulations.run`: computes the curves that are missing in a folder.
- `badger.study.simulations.report`: the report, with `overtaking_point` of two curves.
- `badger.study.simulations.tree_mdp`: the study `tree-mdp`. `badger.study.simulations.psr`: the study `psr`.

`badger study NAME` runs them as it runs other studies.
"""

from badger.study.simulations.psr import PSR_STUDY
from badger.study.simulations.simulation import Curves, Simulation
from badger.study.simulations.tree_mdp import TREE_MDP

SIMULATIONS: dict[str, Simulation] = {study.name: study for study in (TREE_MDP, PSR_STUDY)}
"""Simulations by name."""

__all__ = ["SIMULATIONS", "Curves", "Simulation"]
