//! The labels that the homes of a place gave to their resources. They are remembered, because a test may remove or
//! replace a home before the search for leftovers.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};

use super::fnv1a;

#[derive(Clone, Default)]
pub(crate) struct HomeLabels(Arc<Mutex<BTreeSet<String>>>);

impl HomeLabels {
    /// Remembers the label of this home, if the home has one.
    pub(super) fn note(&self, home: &Path) {
        if let Some(label) = read(home) {
            let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
            all.insert(label);
        }
    }

    pub(crate) fn all(&self) -> Vec<String> {
        let all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        all.iter().cloned().collect()
    }
}

/// Returns the label of a home; gives an identity to a home that has none yet.
pub(super) fn label(home: &Path) -> String {
    if let Some(label) = read(home) {
        return label;
    }
    // The home's path is different for each place.
    let label = fnv1a(format!("a test at {}", home.display()).as_bytes());
    fs::create_dir_all(home).expect("MOAT_HOME");
    write(home, &label);
    label
}

/// Writes an identity as a user may write it.
pub(crate) fn write(home: &Path, label: &str) {
    let content = serde_json::json!({"schema": 1, "id": label}).to_string();
    fs::write(home.join("id"), content).expect("the identity of the home");
}

fn read(home: &Path) -> Option<String> {
    let bytes = fs::read(home.join("id")).ok()?;
    let id: serde_json::Value = serde_json::from_slice(&bytes).ok()?;
    Some(id["id"].as_str()?.to_owned())
}
