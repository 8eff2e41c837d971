"""Promises about the code and its documents: structure, errors, settings, secrets, dependencies."""
