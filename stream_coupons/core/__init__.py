"""Pure steps: state and message in, state and effects out. No Kafka, no Faust, no clock, no chance of its own."""

__all__ = ["messages"]
