"""Several processes behind one address: who starts them, what they say to each other, and how they end together."""
