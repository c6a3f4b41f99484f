"""Generated clips of people doing named actions."""
