"""Everything that is owned per shopper, and how events change it."""
