"""What tasks.games holds: say it here."""
