"""midijax learns how pianists play from MIDI recordings, and plays new music as they would."""

__version__ = "0.1.0"
