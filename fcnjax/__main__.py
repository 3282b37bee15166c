"""Runs the `fcnjax` command as `python -m fcnjax`."""

from fcnjax.commands.main import entry

if __name__ == "__main__":
    entry()
