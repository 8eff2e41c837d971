"""Tests of core.provider."""
