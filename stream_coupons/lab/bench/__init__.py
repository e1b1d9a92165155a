"""What the pipeline costs: a workload that is always the same, and how to measure processes that carry it."""

CONSENT = "--yes-it-is-a-test-broker"
