"""People, projects, roles, tokens, sessions and the one-machine log-in link."""
