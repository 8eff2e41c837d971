"""Prompt enhancement: the paid call, background enhancements, the cache of enhanced prompts, and drafts."""
