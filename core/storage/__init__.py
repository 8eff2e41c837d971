"""Stores image bytes under keys, in a folder or an S3 bucket, and prepares the data folder."""
