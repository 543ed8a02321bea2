"""Support of tests/test_remedies.py: places that raise, situations, and what is typed in them."""
