"""The painter of the offline engine. Its interface is the module `core.offline.painter.paint`."""
