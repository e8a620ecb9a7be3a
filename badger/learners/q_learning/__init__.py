"""What badger.learners.q_learning holds: say it here."""
