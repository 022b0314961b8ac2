//! What a bundle is for: one platform, or all.

use std::{fmt, str::FromStr};

use oci_spec::image::{Arch, Os, Platform, PlatformBuilder};
use serde::Serialize;

/// The platform of a bundle.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize)]
pub enum BundlePlatform {
    /// 64-bit x86.
    #[default]
    #[serde(rename = "linux/amd64")]
    LinuxAmd64,
    /// 64-bit Arm.
    #[serde(rename = "linux/arm64")]
    LinuxArm64,
    /// Every platform that upstream's indexes hold, byte for byte.
    #[serde(rename = "all")]
    All,
}

impl BundlePlatform {
    /// Every platform, in order.
    pub const ALL: [Self; 3] = [Self::LinuxAmd64, Self::LinuxArm64, Self::All];

    /// Returns the word used on the command line and in the index.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::LinuxAmd64 => "linux/amd64",
            Self::LinuxArm64 => "linux/arm64",
            Self::All => "all",
        }
    }

    /// Returns the word used in file names: `amd64`, `arm64` or `all`.
    #[must_use]
    pub fn arch(self) -> &'static str {
        self.as_str().trim_start_matches("linux/")
    }

    /// Returns the platform as a descriptor states it; `None` for all.
    pub(crate) fn oci(self) -> Option<Platform> {
        let arch = match self {
            Self::LinuxAmd64 => Arch::Amd64,
            Self::LinuxArm64 => Arch::ARM64,
            Self::All => return None,
        };
        let platform = PlatformBuilder::default()
            .os(Os::Linux)
            .architecture(arch)
            .build();
        Some(platform.expect("a platform needs no more than os and architecture"))
    }
}

impl fmt::Display for BundlePlatform {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// The text is not a platform that bundles are made for.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is not a platform: expected linux/amd64, linux/arm64 or all")]
pub struct UnknownPlatform(String);

impl FromStr for BundlePlatform {
    type Err = UnknownPlatform;

    fn from_str(text: &str) -> Result<Self, UnknownPlatform> {
        let known = Self::ALL
            .into_iter()
            .find(|platform| platform.as_str() == text);
        known.ok_or_else(|| UnknownPlatform(text.to_owned()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_platform_reads_back() {
        for platform in BundlePlatform::ALL {
            assert_eq!(platform.to_string().parse(), Ok(platform));
        }
        assert!(
            "linux/s390x"
                .parse::<BundlePlatform>()
                .unwrap_err()
                .to_string()
                .contains("linux/s390x")
        );
        assert_eq!(BundlePlatform::LinuxArm64.arch(), "arm64");
        assert_eq!(
            BundlePlatform::LinuxArm64
                .oci()
                .unwrap()
                .architecture()
                .to_string(),
            "arm64"
        );
        assert!(BundlePlatform::All.oci().is_none());
    }
}
