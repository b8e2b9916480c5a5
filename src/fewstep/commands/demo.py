"""`fewstep demo`: distil live, compare, and write a page about it."""

from __future__ import annotations

from collections.abc import Sequence

import tyro


def main(argv: Sequence[str]) -> None:
    """Run the demo and say where its page is."""
    from fewstep.demo.show import Options, run_demo

    run_demo(tyro.cli(Options, prog="fewstep demo", args=list(argv)))
