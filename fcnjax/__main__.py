"""Runs the `fcnjax` command as `python -m fcnjax`."""

from fcnjax.installation import explain_missing

try:
    from fcnjax.commands.main import entry
except ModuleNotFoundError as error:
    explain_missing(error, command=True)

if __name__ == "__main__":
    entry()
