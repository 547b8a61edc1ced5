"""``python -m skyloom``."""

from skyloom.cli.main import main

if __name__ == "__main__":
    main()
