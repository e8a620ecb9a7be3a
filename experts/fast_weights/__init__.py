"""What experts.fast_weights.write_rules holds: say it here."""
