"""The offline engine's painter; `core.painter.paint` is its front."""
