"""Languages whose right answers are known: the phrase bank and list operations."""
