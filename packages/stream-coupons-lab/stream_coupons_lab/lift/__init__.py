"""Lift over the holdout, measured on a log."""
