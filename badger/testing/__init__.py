"""Contracts of the parts of an agent, for your own parts too: give a factory, and all properties are checked.

    from badger.testing import check_core

    check_core(MyCore)      # ContractError: members_permute: want outputs that permute with the members, got ...

`check_core`, `check_bus`, `check_topology`, `check_task`, `check_act` and `check_learner` run a contract whole, or the
properties of some names. Each contract is a dict from names to functions of the factory (`CORE_PROPERTIES`, ...), so
that a test suite may make one test of each:

    @pytest.mark.parametrize("name", CORE_PROPERTIES)
    def test_my_core(name):
        check_core(MyCore, properties=[name])

`contract` has the error and the comparisons; `core` and `task` are folders, the other contracts one file each.
"""

from badger.testing.act import ACT_PROPERTIES, check_act
from badger.testing.bus import BUS_PROPERTIES, check_bus
from badger.testing.contract import ContractError
from badger.testing.core import CORE_PROPERTIES, check_core
from badger.testing.learner import LEARNER_PROPERTIES, check_learner
from badger.testing.task import TASK_PROPERTIES, check_task
from badger.testing.topology import TOPOLOGY_PROPERTIES, check_topology

__all__ = [
    "ACT_PROPERTIES",
    "BUS_PROPERTIES",
    "CORE_PROPERTIES",
    "LEARNER_PROPERTIES",
    "TASK_PROPERTIES",
    "TOPOLOGY_PROPERTIES",
    "ContractError",
    "check_act",
    "check_bus",
    "check_core",
    "check_learner",
    "check_task",
    "check_topology",
]
