"""Sparse vectors over hashed names."""
