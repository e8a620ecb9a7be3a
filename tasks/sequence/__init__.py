"""What tasks.sequence holds: say it here."""
