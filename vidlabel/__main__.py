"""`python -m vidlabel`."""

from vidlabel.cli.main import main

if __name__ == "__main__":
    main()
