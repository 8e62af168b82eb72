"""`python -m mmprm_hf.cli`."""

from .program import main

main()
