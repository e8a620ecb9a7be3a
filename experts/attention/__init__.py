"""What experts.attention holds: say it here."""
