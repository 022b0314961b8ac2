//! The documents say what the program says.

use crate::support::World;

const ROOT: &str = env!("CARGO_MANIFEST_DIR");

fn document(name: &str) -> String {
    fs_err::read_to_string(format!("{ROOT}/{name}")).unwrap()
}

#[test]
fn the_reference_is_what_help_says() {
    let generated = World::new().airgap("util markdown-help").ok();
    assert!(
        generated == document("docs/cli-reference.md"),
        "docs/cli-reference.md is stale: run `make docs`"
    );
}

#[test]
fn the_readme_names_this_version_and_every_exit_code() {
    let readme = document("README.md");
    assert!(readme.contains(&format!("airgap-{}-linux-amd64", env!("CARGO_PKG_VERSION"))));
    for code in ["| 0 |", "| 1 |", "| 2 |", "| 3 |", "| 4 |", "| 130 |"] {
        assert!(readme.contains(code), "{code}");
    }
}

#[test]
fn every_link_of_the_readme_leads_somewhere() {
    let readme = document("README.md");
    let links = readme
        .split("](")
        .skip(1)
        .filter_map(|rest| rest.split(')').next());
    let mut found = 0;
    for link in links.filter(|link| !link.starts_with('#') && !link.contains("://")) {
        assert!(
            fs_err::metadata(format!("{ROOT}/{link}")).is_ok(),
            "{link} is not there"
        );
        found += 1;
    }
    assert!(found > 0);
}

#[test]
fn every_make_target_the_readme_names_exists() {
    let makefile = document("Makefile");
    for (_, rest) in document("README.md").match_indices("make ").map(|(at, _)| {
        let text = document("README.md");
        (at, text[at + 5..].to_owned())
    }) {
        let target: String = rest
            .chars()
            .take_while(|c| c.is_ascii_lowercase() || *c == '-')
            .collect();
        assert!(makefile.contains(&format!("\n{target}:")), "make {target}");
    }
}
