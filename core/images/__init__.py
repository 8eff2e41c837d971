"""The gallery, image files, uploads and share links."""
