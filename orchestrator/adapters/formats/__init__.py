"""Task lists that people already have: read into one common value, written back by changing only status bytes."""
