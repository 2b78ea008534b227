"""Several servers of one expert: which of them answers a request.

`choice` is pure; `pool` holds what is known of the servers now; `prefix_record` what each has read. Knows
nothing of decisions: the router never sees a replica.
"""
