"""`python -m vidlabel`."""

from vidlabel.cli import main

if __name__ == "__main__":
    main()
