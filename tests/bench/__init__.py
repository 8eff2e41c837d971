"""How quick and how small Atelier is, each figure beside a baseline of the same run: `make bench`."""
