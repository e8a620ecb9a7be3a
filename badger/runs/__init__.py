"""The outer loop: a run, its folder, checkpoints, metrics and their milestones."""
