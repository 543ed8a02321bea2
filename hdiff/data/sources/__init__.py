"""Sources: where documents come from. Import the file you need; this one loads nothing."""
