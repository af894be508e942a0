//! Tests and benchmarks of the runtime with the services of the shop: they are in `tests/` and `benches/`.
