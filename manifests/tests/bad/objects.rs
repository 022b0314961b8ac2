//! Components that are objects, and keys that speak of other components.

use super::one;
use crate::support::Files;

const POOLS: &str = "\
name: pools
title: Pools
about: address pools
version: \"1\"
licence: Apache-2.0
namespace: pools
delivery: argoCd
needs: [gitops]
values:
  pools: []
objects:
  - forEach: pools
    objects:
      - apiVersion: v1
        kind: ConfigMap
        metadata: {name: \"${item.name}\"}
";

pub(super) fn pools(from: &str, to: &str) -> Files {
    assert!(POOLS.contains(from), "{from}");
    Files::shipped()
        .replace(
            "editions/community.yaml",
            "  - longhorn\n",
            "  - longhorn\n  - pools\n",
        )
        .add("components/pools.yaml", &POOLS.replacen(from, to, 1))
}

#[test]
fn objects_that_are_none_or_are_repeated_for_nothing() {
    pools("pools", "pools").load().unwrap();
    one(
        &pools("forEach: pools", "forEach: pool"),
        "components/pools.yaml:12: `forEach` names `pool`, which the values do not have; did you mean `pools`?",
    );
    one(
        &pools("pools: []", "pools: {}"),
        "`pools` of the values, which is not a list",
    );
    one(
        &pools("        kind: ConfigMap\n", ""),
        "components/pools.yaml:14: `objects.0.objects.0` has no `kind`",
    );
    one(
        &pools("    objects:\n", "    object:\n"),
        "components/pools.yaml:12: unknown key `object` beside `forEach`",
    );
    one(
        &pools(
            "  - forEach: pools\n",
            "  - {apiVersion: v1, kind: Namespace, metadata: {name: \"${item.name}\"}}\n  - forEach: pools\n",
        ),
        "`objects.0.metadata.name` refers to `item.name`, but repeats nothing; put the object under a `forEach`",
    );
    one(
        &pools("{name: \"${item.name}\"}", "{name: \"${site.domian}\"}"),
        "`objects.0.objects.0.metadata.name` refers to `site.domian`, which is not a fact of a site",
    );
}

#[test]
fn objects_where_they_cannot_be_delivered() {
    one(
        &pools("delivery: argoCd", "delivery: helmChart"),
        "only Argo CD delivers `objects`",
    );
    one(
        &pools(
            "values:\n",
            "chart: {name: x, version: \"1\", url: \"oci://quay.io/x\"}\nvalues:\n",
        ),
        "has both a `chart` and `objects`; make the objects a component of their own",
    );
    let (head, _) = POOLS.split_once("values:").unwrap();
    one(
        &pools("pools", "pools").add("components/pools.yaml", head),
        "this delivery needs a `chart` or `objects`",
    );
}

#[test]
fn values_needs_and_conflicts_that_name_no_component() {
    for (line, path) in [
        ("valuesWith: {longhorm: {a: 1}}", "longhorm"),
        ("needsWith: {longhorm: [storage]}", "longhorm"),
        ("conflicts: [longhorm]", "longhorm"),
    ] {
        one(
            &pools("needs: [gitops]", &format!("needs: [gitops]\n{line}")),
            &format!(
                "components/pools.yaml:9: there is no component `{path}`; did you mean `longhorn`?"
            ),
        );
    }
    one(
        &pools(
            "needs: [gitops]",
            "needs: [gitops]\nvaluesWith: {longhorn: {a: \"${site.domian}\"}}",
        ),
        "`valuesWith.longhorn.a` refers to `site.domian`",
    );
}

#[test]
fn two_components_that_cannot_stand_beside_each_other() {
    one(
        &pools("needs: [gitops]", "needs: [gitops]\nconflicts: [longhorn]"),
        "components/pools.yaml:9: `pools` cannot be chosen beside `longhorn` (edition community on onprem); choose one of them",
    );
}

#[test]
fn a_need_beside_another_component_that_nothing_provides() {
    one(
        &pools(
            "needs: [gitops]",
            "needs: [gitops]\nneedsWith: {longhorn: [gitops, s4]}",
        ),
        "components/pools.yaml:9: `pools` needs `s4`, which nothing provides in edition community on onprem",
    );
}

#[test]
fn amounts_that_kubernetes_would_not_read() {
    one(
        &pools(
            "needs: [gitops]",
            "needs: [gitops]\nrequests: {cpu: 1, memory: 2GB}",
        ),
        "components/pools.yaml:9: `2GB` is not an amount of memory; write `512Mi` or `1Gi`",
    );
}
