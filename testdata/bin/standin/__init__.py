"""The parts of the stand-in for Apple's `container`. Start reading at main.py."""
