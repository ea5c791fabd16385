"""Numbers of networks and of results: parameters, MACs, latency, ranks, one judgement for all who compare."""
