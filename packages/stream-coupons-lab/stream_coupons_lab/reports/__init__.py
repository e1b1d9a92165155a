"""Reports as HTML files."""
