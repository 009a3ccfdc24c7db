"""Planning: from a task in plain language to a plan that is proven feasible and released."""
