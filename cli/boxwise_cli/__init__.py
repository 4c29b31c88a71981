"""The `boxwise` command: thin, and what is heavy is imported only when a subcommand needs it."""
