"""Arrays in, arrays out: decode, encode, score, cluster, search, resolve."""
