"""Tests of core.web."""
