"""The command line: ``skyloom COMMAND``; one small file a command, loaded when it is run."""

__all__: list[str] = []
