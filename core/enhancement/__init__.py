"""Prompt enhancement: the paid call, the runs that pages watch, the cache of the last day, and drafts."""
