"""Image generation: orders, quotes, the job queue, workers and recovery."""
