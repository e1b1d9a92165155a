"""The search for better settings on the log of another system."""
