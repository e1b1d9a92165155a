"""Coupons, compiled to arrays, and which of them a shopper may get."""
