"""Who somebody is: people, tokens, the one-machine log-in link."""
