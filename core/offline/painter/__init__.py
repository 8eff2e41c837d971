"""The painter of the offline engine. `core.offline.painter.paint` is its interface."""
