"""Browser components: a Python file each, with its HTML, CSS and JavaScript beside it."""
