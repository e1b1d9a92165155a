"""The agents: which topics, which states, which steps."""
