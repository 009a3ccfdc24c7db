"""The neural planner: three panels around a decoder, what they read and what they answer."""
