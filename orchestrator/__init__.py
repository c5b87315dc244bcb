"""Turn a goal into a priced plan of subtasks and run it under a hard dollar limit."""

__version__ = "0.1.0"
