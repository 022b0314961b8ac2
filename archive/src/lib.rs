//! The bundle: a signed OCI image layout in seekable zstd.
