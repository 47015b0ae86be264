"""The control plane: identity, money, nodes, leases, deployments."""
