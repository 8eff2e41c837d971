"""Cost and limits: the usage log, budgets, rate limits, idempotency keys and error counts."""
