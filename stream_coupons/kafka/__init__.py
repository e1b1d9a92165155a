"""All that knows Kafka and not Faust: topics, bytes, connections, producers, readers, dead letters."""
