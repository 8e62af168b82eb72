"""`python -m mmprm_hf`."""

from .cli import main

main()
