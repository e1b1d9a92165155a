"""Limits of stock and money: accounts, leases, purses and prices."""
