"""Numbers of edges (length, radius, …) and of a whole graph, and histograms of them."""
