"""The state of a shopper, and how events change it."""
