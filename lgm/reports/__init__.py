"""Records in, HTML and Markdown out."""
