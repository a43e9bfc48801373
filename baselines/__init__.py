"""References, controls (no brain) and ceilings (cheat openly); all run through the door of any method."""
