"""Downloads without a network, for the tests of data sets."""

import sys
from pathlib import Path
from types import SimpleNamespace

import pytest


@pytest.fixture
def internet(monkeypatch):
    """Puts a pooch in place whose network holds these addresses -> paths; gives the list of what it was asked for."""

    def connect(held, cache="cache"):
        asked = []

        def retrieve(url, known_hash, fname, path):
            asked.append((url, known_hash, str(Path(path) / fname)))
            if url not in held:
                raise OSError(f"no route to {url}")
            if isinstance(held[url], Exception):
                raise held[url]
            return str(held[url])

        fake = SimpleNamespace(retrieve=retrieve, os_cache=lambda name: Path(cache) / name)
        monkeypatch.setitem(sys.modules, "pooch", fake)
        return asked

    return connect


@pytest.fixture
def nowhere(monkeypatch, internet):
    """No folder is named, and there is no network."""
    monkeypatch.delenv("BADGER_DATA", raising=False)
    return internet({})
