"""Every parser against inputs that nobody would write: `make test` tries a few, `make fuzz` thousands."""
