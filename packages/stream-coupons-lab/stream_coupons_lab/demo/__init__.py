"""The main job, end to end, on this machine: a broker, topics, workers, and two inputs to watch."""
