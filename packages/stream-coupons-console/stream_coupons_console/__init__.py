"""Console of stream-coupons: pages, an HTTP API and tools for MCP clients over the topics of a running system."""
