"""Property suites: what a potential says about things that a user knows from elsewhere."""
