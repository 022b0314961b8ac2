//! The comparison of records with catalog and lock, offline: nothing that a chart asks for may be missing from a bundle.

use std::collections::BTreeSet;
use std::fmt::Write as _;

use super::{ChartRecord, RenderingRecord, needed};
use crate::catalog::{Catalog, Sourced};
use crate::selection::{choose, on_site};
use crate::{Component, ImageLock, ImageReference, Problem, SiteKind};

const REMEDY: &str = "run `airgap lock`";

impl Catalog {
    /// Compares every record with the catalog and a lock: what is missing, out of step, or belongs to nothing.
    #[must_use]
    pub fn check_records(&self, lock: &ImageLock) -> Vec<Problem> {
        let mut problems = Vec::new();
        let mut used = BTreeSet::new();
        for needed in self.renderings() {
            let Some(component) = self.components.get(&needed.component.name) else {
                continue;
            };
            let places: Vec<&str> = needed.editions.iter().map(String::as_str).collect();
            let found = self.record_for(lock, component, &needed.digest, &places, &mut problems);
            if let Some((record, rendering)) = found {
                used.insert((
                    &record.file,
                    &rendering.component,
                    rendering.values.to_string(),
                ));
                problems.extend(check_images(component, record, rendering));
            }
        }
        for record in self.records.values() {
            for rendering in &record.value.renderings {
                let key = (
                    &record.file,
                    &rendering.component,
                    rendering.values.to_string(),
                );
                if !used.contains(&key) {
                    let message = format!(
                        "has values of `{}` that no edition gives to the chart any more",
                        rendering.component
                    );
                    problems.push(Problem::new(&record.file, message).remedy(REMEDY));
                }
            }
        }
        problems.sort();
        problems.dedup();
        problems
    }

    /// Compares the records of one choice of components with catalog and lock.
    pub fn check_records_of(
        &self,
        lock: &ImageLock,
        edition: &str,
        with: &[String],
    ) -> Result<(), Vec<Problem>> {
        let chosen = choose(self, edition, with)?;
        let mut problems = Vec::new();
        for site in SiteKind::ALL {
            let present = on_site(&chosen, site);
            for component in present.values().filter(|of| of.value.chart.is_some()) {
                let values = needed::site_values(&component.value, &present, site);
                let digest = needed::values_digest(&component.value, &values);
                let place = format!("{edition}/{site}");
                let found = self.record_for(lock, component, &digest, &[&place], &mut problems);
                if let Some((record, rendering)) = found {
                    problems.extend(check_images(component, record, rendering));
                }
            }
        }
        problems.sort();
        problems.dedup();
        if problems.is_empty() {
            Ok(())
        } else {
            Err(problems)
        }
    }

    /// Finds the record of a component's chart with certain values; none, or one of another chart, is a problem.
    fn record_for(
        &self,
        lock: &ImageLock,
        component: &Sourced<Component>,
        values: &oci_spec::image::Digest,
        places: &[&str],
        problems: &mut Vec<Problem>,
    ) -> Option<(&Sourced<ChartRecord>, &RenderingRecord)> {
        let chart = component.value.chart.as_ref()?;
        let mut missing = |message: String| {
            problems.push(component.problem(&["chart"], message).remedy(REMEDY));
        };
        let (name, version) = (&chart.name, &chart.version);
        let record = self
            .records
            .values()
            .find(|record| (&record.value.chart, &record.value.version) == (name, version));
        let Some(record) = record else {
            missing(format!(
                "chart {name} {version} was never rendered: rendered/{name}-{version}.yaml is missing"
            ));
            return None;
        };
        let locked = lock.chart(name, version).and_then(|of| of.sha256.as_ref());
        // made before the chart was locked, a record holds the component's own list and says nothing of a chart
        if record.value.sha256.is_some() && record.value.sha256.as_ref() != locked {
            missing(format!(
                "chart {name} {version} is not the one that {} was made from",
                record.file
            ));
            return None;
        }
        let rendering = record.value.rendering(&component.value.name, values);
        if rendering.is_none() {
            missing(format!(
                "chart {name} {version} was not rendered with the values of `{}` for {}: they changed since {} was made",
                component.value.name,
                places.join(", "),
                record.file
            ));
        }
        rendering.map(|rendering| (record, rendering))
    }
}

/// Checks that every image of a rendering is among those of its component, under the digest that the chart names.
fn check_images(
    component: &Sourced<Component>,
    record: &Sourced<ChartRecord>,
    rendering: &RenderingRecord,
) -> Vec<Problem> {
    let listed: Vec<ImageReference> = component
        .value
        .image_texts()
        .filter_map(|(_, _, text)| text.parse().ok())
        .collect();
    let mut problems = Vec::new();
    for found in &rendering.images {
        let image = &found.image;
        let mut place = format!("chart {} {}", record.value.chart, record.value.version);
        if let Some(template) = &found.template {
            let _ = write!(place, ", template {template}");
        }
        if let Some(field) = &found.field {
            let _ = write!(place, ", {field}");
        }
        let fail = |message: String, remedy: String| {
            component.problem(&["images"], message).remedy(remedy)
        };
        let reference: ImageReference = match image.parse() {
            Ok(reference) => reference,
            Err(error) => {
                problems.push(fail(
                    format!("{place}: {error}"),
                    "set the image's tag in `values`".to_owned(),
                ));
                continue;
            }
        };
        let own = listed.iter().find(|own| own.name == reference.name);
        match (own, &reference.digest) {
            (None, _) => problems.push(fail(
                format!(
                    "{place}: image {image} is not among those of `{}`, so no bundle carries it",
                    component.value.name
                ),
                format!("add `{image}` to `images`, or turn off in `values` what asks for it"),
            )),
            (Some(own), Some(digest)) if own.digest.as_ref() != Some(digest) => {
                problems.push(fail(
                    format!(
                        "{place}: image {} is named by {digest}, which no bundle carries",
                        own.name
                    ),
                    format!("write `{image}` under `images`, or take the digest away in `values`"),
                ));
            }
            _ => {}
        }
    }
    problems
}
