"""The version, where what lies below the public face can read it."""

__version__ = "0.1.0"
