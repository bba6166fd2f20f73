"""The tables: published numbers and ours, as Markdown, CSV and LaTeX."""
