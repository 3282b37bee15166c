"""The `fcnjax` command: one module per command with its flags, and one sentence for each mistake of a user."""
