//! Nearest-neighbour search: the exact scan, distances and filters.
