"""What tasks.control holds: say it here."""
