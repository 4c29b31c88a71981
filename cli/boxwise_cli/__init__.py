"""The `boxwise` command: options, exit codes and printing, over what the packages below do.

    entry.main ─▶ app ─▶ a module per subcommand ─▶ boxwise, boxwise_export, _perf, _eval, _runtime
    options.py: shared options ─▶ the subcommand ─▶ printing.py: JSON, tables and notes
    exceptions ─▶ exits.reported ─▶ `error: ...` on stderr, and an exit code

A start imports nothing heavy: subcommands import their packages when they run.
"""
