"""What badger.policies holds: say it here."""
