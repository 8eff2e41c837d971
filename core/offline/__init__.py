"""The engine without a key: answers in OpenAI's wire format, in this process."""
