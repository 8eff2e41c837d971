"""The client for OpenAI-compatible image and text services: requests, responses, errors, models, prices."""
