//! The annotations of `index.json` and of its descriptors (FORMAT §4): the only place where their names are spelled.

/// Index: the version of this format, `"1"`.
pub const FORMAT: &str = "airgap.format";
/// Index: the bundle's name, which is the stem of its file name when written.
pub const NAME: &str = "airgap.name";
/// Index: the edition, such as `standard`.
pub const EDITION: &str = "airgap.edition";
/// Index: the version people speak of, such as `1.4.0`.
pub const VERSION: &str = "airgap.version";
/// Index: the release number in decimal, which only ever grows; what a downgrade is measured by.
pub const RELEASE: &str = "airgap.release";
/// Index: `linux/amd64`, or `all` when image indexes are carried whole.
pub const PLATFORM: &str = "airgap.platform";
/// Index: the source date, RFC 3339.
pub const CREATED: &str = "org.opencontainers.image.created";
/// Index, optional: from when on the bundle must not be installed, RFC 3339.
pub const EXPIRES: &str = "airgap.expires";
/// Index, optional: sha256 of the installer binary that is handed over beside the bundle, 64 hexadecimal digits.
pub const INSTALLER_SHA256: &str = "airgap.installer.sha256";
/// Index of a delta: the index digest of the bundle that it builds on (FORMAT §9).
pub const DELTA_BASE: &str = "airgap.delta.base";
/// Index of a delta: the version of the bundle that it builds on.
pub const DELTA_VERSION: &str = "airgap.delta.version";
/// Index of a delta: the release number of the bundle that it builds on.
pub const DELTA_RELEASE: &str = "airgap.delta.release";
/// Layer that a delta leaves out: the repositories of the base that hold it, separated by commas.
pub const DELTA_REPOSITORIES: &str = "airgap.delta.repositories";
/// Descriptor: what it is, see [`crate::Role`].
pub const ROLE: &str = "airgap.role";
/// Descriptor: its full name at the source, such as `quay.io/argoproj/argocd:v3.4.4`.
pub const REF_NAME: &str = "org.opencontainers.image.ref.name";
/// Descriptor of a signature or a referrer: the digest of what it belongs to.
pub const SUBJECT: &str = "airgap.subject";
/// Layer: the file name of what it holds, as oras titles files.
pub const TITLE: &str = "org.opencontainers.image.title";
