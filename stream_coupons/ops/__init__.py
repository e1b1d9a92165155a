"""Audits, explanations, lift, campaign states and files, for operators. It reads topics; no worker imports it."""
