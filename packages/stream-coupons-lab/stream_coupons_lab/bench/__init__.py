"""Cost of the pipeline: a deterministic workload, and measurements of the processes that carry it."""

CONSENT = "--yes-it-is-a-test-broker"
