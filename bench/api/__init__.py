"""What the Python door opens on: a function for each thing that a user asks for, in plain arguments."""
