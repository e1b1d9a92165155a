"""A foreign log through the system: how good predictions were, and what coupons brought."""
