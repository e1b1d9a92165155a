"""Where Faust is relied on: its consumer, the thread of that, and what it hands to our loops."""
