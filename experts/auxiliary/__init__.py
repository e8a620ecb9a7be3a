"""What experts.auxiliary holds: say it here."""
