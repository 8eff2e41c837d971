"""The offline engine: a local replacement for OpenAI's API, for use without an API key."""
