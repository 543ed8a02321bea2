"""Analysis: what a model finds hard, and whether its probabilities can be believed, on held-out rows."""
