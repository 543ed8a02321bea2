"""Runs: the folder of a run and what lies in it. Import the file you need; this one loads nothing."""
