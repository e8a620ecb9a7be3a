"""What experts.episodic.memory holds: say it here."""
