"""Brain2Video Bench: an evaluation harness and leaderboard for reconstructing video from brain recordings."""

__version__ = "0.1.0"
