"""One paid text: enhancement runs, the cache of finished ones, and drafts."""
