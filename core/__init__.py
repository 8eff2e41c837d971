"""All of Atelier except its web pages. Nothing in this package imports Streamlit or the pages."""

# Let Python find the operator commands under their old names, such as `python -m core.doctor`.
__path__.append(f"{__path__[0]}/maintenance/old_commands")
