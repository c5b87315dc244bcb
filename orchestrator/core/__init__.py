"""What the orchestrator decides, without doing anything: no I/O, no clock, no logging."""
