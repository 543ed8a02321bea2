"""Rows: what training reads, from prepared data, streams and mixtures."""
