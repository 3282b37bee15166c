"""The `fcnjax` command: one module per command, its flags, and one sentence for each mistake."""
