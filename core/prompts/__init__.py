"""Prompt texts: style presets, descriptions, model instructions, prompt extraction and recipes. No I/O."""
