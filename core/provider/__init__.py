"""The client for OpenAI-compatible image and text services: requests, models, prices."""
