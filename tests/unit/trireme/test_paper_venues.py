"""What trades where: contracts become instruments of each venue, and what cannot be is refused before anything starts."""

from tests.unit.trireme.cli import Runner, run  # noqa: F401
