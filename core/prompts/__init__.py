"""The words: styles, the user's description, instructions, extraction and recipes. No I/O."""
