"""The offline engine: stands in for the service when there is no API key, in OpenAI's wire format."""
