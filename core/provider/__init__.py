"""The client for OpenAI-compatible services: requests, responses, errors, models and prices."""
