"""What tasks.adapters.inbound holds: say it here."""
