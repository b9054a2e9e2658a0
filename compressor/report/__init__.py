"""The report: its schema, and how it is shown as text, HTML and Markdown."""
