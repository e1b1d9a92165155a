"""Simulated shops of independent makes: each a different model of how shoppers respond to coupons."""
