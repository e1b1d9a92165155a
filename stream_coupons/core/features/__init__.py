"""What is said of a shopper, a coupon and a moment, as numbers."""
