"""The `boxwise` command: thin, and each part is imported only when its subcommand runs."""
