"""Measurement of effects by chance: intervals and checks that are valid at every look."""
