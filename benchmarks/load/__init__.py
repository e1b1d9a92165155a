"""The load harness: a deterministic workload, and the cost of the processes that carry it."""
