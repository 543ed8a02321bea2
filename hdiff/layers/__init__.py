"""Layers: attention and the trunk that every network shares."""
