"""The border to OpenAI-compatible services: calls, answers, errors, models and prices."""
