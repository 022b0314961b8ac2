//! One OCI registry: authentication, mirrors, pull and push.
