"""Export of a stopped system to files, and import into new topics, of other partitions or on another cluster."""
