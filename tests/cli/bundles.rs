//! `verify`, `inspect`, `extract`, `diff` and `sign` on small bundles.
