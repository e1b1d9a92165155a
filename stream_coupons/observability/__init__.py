"""Observability for operators: metrics, their endpoint, reports of batches, models and budgets."""
