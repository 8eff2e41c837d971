"""Tests of core.images."""
