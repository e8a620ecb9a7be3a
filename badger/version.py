"""The version of this library, which run.json records."""

__version__ = "0.3.0"
