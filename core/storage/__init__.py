"""Image bytes under keys, in a folder or an S3 bucket, and the data folder."""
