"""The daemon: puts the parts together, runs the jobs, serves the API, and stops cleanly."""
