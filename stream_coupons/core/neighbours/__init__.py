"""Near shoppers and related categories."""
