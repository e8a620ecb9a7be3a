"""What tasks.data holds: say it here."""
