"""`python -m fcnjax` is the `fcnjax` command."""

from fcnjax.commands.main import entry

if __name__ == "__main__":
    entry()
