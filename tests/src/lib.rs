//! What several crates or several nodes do together, proved. The tests are in `tests/`.
