"""Evaluation: bounds, judges and tests of a run. Import the file you need; this one loads nothing."""
