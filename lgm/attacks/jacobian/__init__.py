"""Features and their Jacobian: by autograd, or faster where the network is a chain of convolutions."""
