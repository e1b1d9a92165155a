"""Simulated shoppers with a hidden truth: synthetic data, never evidence about real shoppers."""
