"""The offline engine: a local stand-in for the service. It uses OpenAI's wire format and needs no API key."""
