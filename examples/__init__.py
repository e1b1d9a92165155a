"""Synthetic sample logs and catalogues of three domains, and the command that writes them."""
