"""What operators see: metrics, their endpoint, and what is told of batches, models and budgets."""
