"""What runs inside Triton's Python backend, and the launcher of the bundled server."""
