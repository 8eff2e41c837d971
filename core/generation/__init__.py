"""One paid image: orders, quotes, the job queue, workers and recovery."""
