"""Tests of core.generation."""
