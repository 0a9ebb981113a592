"""`python -m hornbeam`: the command."""

from hornbeam.cli.main import main

if __name__ == "__main__":
    main()
