"""This machine, reached as if it were another one: to try the agent without a second machine."""

from devices.transport.errors import LinkCut


class LocalLink:
    """A shell of this machine; the user's home is where it starts."""

    name = "this machine"

    def command(self, script: str) -> list[str]:
        """Return the command that runs ``script`` in a shell of this machine."""
        return ["sh", "-c", f"cd\n{script}"]

    def failure(self, said: str) -> LinkCut:
        """Return that the shell was killed: there is nothing else between here and here."""
        return LinkCut(f"a command on this machine was killed: {said.strip() or 'no word why'}")
