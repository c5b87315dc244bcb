"""What the orchestrator does: each file hides one outside thing behind a port of `core.ports`."""
