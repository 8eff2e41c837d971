"""Helpers of the tests: servers, browsers, and people at both."""
