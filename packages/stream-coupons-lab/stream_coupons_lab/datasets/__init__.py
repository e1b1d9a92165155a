"""Logs of other systems: their formats, and one public data set."""
