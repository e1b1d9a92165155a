"""The only room that imports Faust: application, transport, consumer and the consumer's thread."""
