"""The command line, one file a group of commands; what it needs is imported when a command asks for it."""
