"""What badger.evaluation holds: say it here."""
