"""Prompt texts: styles, the user's description, enhancer instructions, extraction and recipes. No I/O."""
