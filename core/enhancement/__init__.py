"""Prompt enhancement: the paid call, background enhancements, the cache of the last day, and drafts."""
