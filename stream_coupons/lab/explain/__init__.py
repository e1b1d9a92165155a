"""Why a shopper got a coupon, and why not the others."""
