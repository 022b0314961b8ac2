//! What the tests run against: registries, nodes and hostile inputs.
