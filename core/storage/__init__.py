"""Stores files in a local folder or an S3 bucket, and prepares the data folder."""
