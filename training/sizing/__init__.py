"""What a job needs of the machines that run it, and what serving its model needs: formulas, and a table of them."""
