"""The steps: take in, score, decide, take notice of what came of it."""
