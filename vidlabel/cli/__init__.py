"""The command line: parse, call one function, answer with an exit code."""
