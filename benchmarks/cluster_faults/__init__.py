"""Faults of a cluster of three Apache Kafka nodes, and the seconds in which shoppers get no decision."""
