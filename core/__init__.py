"""Atelier without its pages: everything that knows neither Streamlit nor the pages."""

# Lets Python find the operator commands by their old names, such as `python -m core.doctor`.
__path__.append(f"{__path__[0]}/maintenance/old_commands")
