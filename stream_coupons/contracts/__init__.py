"""What other teams rely on: JSON Schemas made from the types."""
