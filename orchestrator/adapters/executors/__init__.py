"""The ways to do a subtask: each an `Executor` of `core.ports`."""
