"""Verbs that the console adds to the command `stream-coupons`."""

VERBS = {
    "console": "Serve pages and an HTTP API for campaign owners and operators, until Ctrl-C.",
    "mcp": "Serve tools for MCP clients over standard input and output.",
}
"""Help line by verb; each is a module of this package."""
