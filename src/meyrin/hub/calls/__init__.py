"""From a call to an allocation: grants and their projects."""
