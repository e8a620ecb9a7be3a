"""Episodic control."""
