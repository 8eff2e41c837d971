"""Tests of core.enhancement."""
