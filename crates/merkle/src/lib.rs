//! The Merkle tree: leaves, buckets, root, freeze and diff. Knows bytes and digests, no vectors.
