"""The demo: distil live, make the same clips with every plan, judge them, and write one page about it."""
