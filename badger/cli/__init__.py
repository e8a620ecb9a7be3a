"""What badger.cli holds: say it here."""
