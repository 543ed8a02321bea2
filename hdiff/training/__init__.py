"""Training: a recipe becomes a run folder. Import the file you need; this one loads nothing."""
