"""The names that `import badger` exports."""

import badger


def test_dir_is_the_list_of_public_names():
    assert dir(badger) == sorted(badger.__all__)


def test_every_public_name_exists():
    assert [name for name in badger.__all__ if not hasattr(badger, name)] == []


def test_public_names_are_few_enough_to_read():
    assert len(badger.__all__) <= 90


def test_names_of_a_sub_package_are_not_exported():
    assert {"Carry", "EnvPool", "Edges", "Mixture", "WarmupCosine"}.isdisjoint(dir(badger))
