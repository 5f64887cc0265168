"""Pages and statements over everyone's tables; writes nothing."""
