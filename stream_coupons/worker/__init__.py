"""One worker: the process that decides, the process that learns, and how both are wired, watched and ended."""
