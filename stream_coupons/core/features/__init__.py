"""Features of a shopper, a coupon and a moment."""
