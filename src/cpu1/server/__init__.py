"""The HTTP server of `cpu1 serve`: OpenAI's API for a packed model, and a page to play with it. See docs/server.md."""
