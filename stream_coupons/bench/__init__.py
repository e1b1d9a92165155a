"""What the pipeline costs: a workload that is always the same, and how to measure processes that carry it."""
