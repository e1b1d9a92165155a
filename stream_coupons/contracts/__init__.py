"""Contracts for other teams: JSON Schemas generated from the types."""
