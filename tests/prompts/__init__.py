"""Tests of core.prompts."""
