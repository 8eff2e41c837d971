"""The start of the app, and its composition root."""
