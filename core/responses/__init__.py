"""The responses of the service: events, JSON, limits, and the errors in them."""
