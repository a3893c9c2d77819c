"""`python -m trireme`: the command line, for whoever has the interpreter but not the script."""

from trireme.main import main

if __name__ == "__main__":
    main()
