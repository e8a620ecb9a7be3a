"""What tasks.adapters.outbound holds: say it here."""
