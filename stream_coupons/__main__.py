"""`python -m stream_coupons`."""

from stream_coupons.cli import main

main()
