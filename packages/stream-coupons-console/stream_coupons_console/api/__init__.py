"""HTTP API of the console, and the functions that it shares with the tools for MCP clients."""
