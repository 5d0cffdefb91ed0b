"""`python -m lgm`: see `lgm.cli.main`."""

from lgm.cli.main import run

if __name__ == "__main__":
    run()
