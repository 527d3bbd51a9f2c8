//! What only a backend can see: plans, rows of the catalogue, memory.
