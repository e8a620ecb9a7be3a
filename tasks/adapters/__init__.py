"""What tasks.adapters holds: say it here."""
