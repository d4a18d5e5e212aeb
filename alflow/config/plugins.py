"""What the kinds of plug-in that a campaign file names are called."""

SINGULAR = {
    "builders": "builder",
    "models": "model",
    "trainers": "trainer",
    "samplers": "sampler",
    "acquisition": "acquisition rule",
    "labelers": "labeler",
    "validation": "validation suite",
}
"""What one plug-in of each kind is called."""
