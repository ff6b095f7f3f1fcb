"""The command line: one module per subcommand, and the only room that prints."""
