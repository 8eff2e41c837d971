"""The offline engine's painter; `core.offline.painter.paint` is its front."""
