"""What badger.rollouts holds: say it here."""
