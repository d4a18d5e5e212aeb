"""The nouns of alflow. Needs numpy only; everything else builds on it."""
