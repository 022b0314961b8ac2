//! The connected side: from an edition and its lock to a signed bundle.
