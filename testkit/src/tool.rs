//! The gate for tests that run a tool of the system.
//!
//! Invariant: in CI nothing is skipped, so a missing tool fails there.

/// Returns whether a program is on the path; without it, panics when `CI` is `true`, else prints `SKIPPED`.
///
/// # Panics
/// Panics when the tool is missing and the environment says `CI=true`.
#[must_use]
pub fn require_tool(name: &str) -> bool {
    let found = std::env::var_os("PATH")
        .is_some_and(|path| std::env::split_paths(&path).any(|folder| folder.join(name).is_file()));
    if !found {
        let ci = std::env::var("CI").is_ok_and(|value| value == "true");
        assert!(
            !ci,
            "the tool `{name}` is missing, and CI skips nothing: install it"
        );
        skipped(name);
    }
    found
}

#[expect(clippy::print_stderr, reason = "a skipped test has to say so")]
fn skipped(name: &str) {
    eprintln!("SKIPPED: the tool `{name}` is not installed");
}
