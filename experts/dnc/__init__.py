"""What experts.dnc.core holds: say it here."""
