"""Paints the offline engine's pictures. Other packages use the functions in core.offline.painter.paint."""
