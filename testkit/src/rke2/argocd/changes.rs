//! What becomes of a change: when it is acted on, and what a comparison was made with.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use crate::rke2::pull::sha256;

/// What was asked for when it was last looked at, by kind and name.
#[derive(Debug, Default)]
pub(super) struct Seen(BTreeMap<(&'static str, String), String>);

impl Seen {
    /// Tells whether that was asked for in an earlier pass already. The real controllers take their time as well: whoever takes the
    /// status of before a change for one of after it must find one.
    pub(super) fn is_ripe(&mut self, kind: &'static str, name: &str, spec: &Value) -> bool {
        let print = sha256(spec.to_string().as_bytes());
        self.0.insert((kind, name.to_owned()), print.clone()) == Some(print)
    }
}

/// What a comparison writes down as what it was made with: the fields of Argo CD's `ComparedTo`.
pub(super) fn compared_to(spec: &Value) -> Value {
    let mut compared = json!({"source": spec["source"], "destination": spec["destination"]});
    if spec["ignoreDifferences"].is_array() {
        compared["ignoreDifferences"] = spec["ignoreDifferences"].clone();
    }
    compared
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_change_is_acted_on_in_the_pass_after_the_one_that_sees_it() {
        let mut seen = Seen::default();
        let mut pass = |version: &str| seen.is_ripe("Application", "web", &json!(version));
        assert_eq!(
            [pass("1"), pass("1"), pass("1"), pass("2"), pass("2")],
            [false, true, true, false, true]
        );
    }

    #[test]
    fn a_comparison_names_its_source_and_nothing_of_the_way_to_sync() {
        let spec = json!({"source": {"chart": "web"}, "destination": {"namespace": "web"}, "syncPolicy": {}});
        assert_eq!(
            compared_to(&spec),
            json!({"source": {"chart": "web"}, "destination": {"namespace": "web"}})
        );
    }
}
