"""The small safety-and-honesty suite: refusing harm, admitting ignorance, keeping a canary."""
