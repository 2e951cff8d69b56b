"""``python -m stripe``: the same as the ``stripe`` command."""

from stripe.cli import main

if __name__ == "__main__":
    main(prog_name="stripe")
