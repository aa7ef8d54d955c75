"""A report as Markdown, HTML, terminal output and figures."""
