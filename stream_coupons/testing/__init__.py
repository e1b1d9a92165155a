"""The whole system in one process, without a broker, for tests and tools."""
