"""Explain why a shopper got a coupon and not the others."""
