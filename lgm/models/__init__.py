"""Networks, their class Gaussians, and the files that they are kept in."""
