"""The Kafka layer, without Faust: topics, bytes, connections, producers, readers, dead letters."""
