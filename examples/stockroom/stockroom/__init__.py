"""A small stock-keeping application."""
