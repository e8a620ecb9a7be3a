"""Adapters between tasks and other libraries.

inbound/              environments of Gymnasium and PettingZoo as tasks
outbound/             tasks as environments of Gymnasium and PettingZoo
optional_imports.py   imports of optional libraries, with an error that says what to install
"""
