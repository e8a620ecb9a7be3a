"""What tasks.babi.task holds: say it here."""
