"""Prepare: from raw text to parsed, aligned Arrow data, the job of `hdiff prepare`."""
