"""What experiments/checks/fuzz.py is made of."""
