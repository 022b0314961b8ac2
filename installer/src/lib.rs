//! The site: from a verified bundle and an inventory to a running platform.
