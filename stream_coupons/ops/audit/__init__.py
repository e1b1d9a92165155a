"""Audit a system by its topics: limits, money, and that every record is accounted for."""
