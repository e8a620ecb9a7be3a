"""What experts.recurrent holds: say it here."""
