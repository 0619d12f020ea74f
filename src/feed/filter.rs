//! What a subscriber wants to see.

use std::collections::HashSet;

use crate::model::{Entry, EntryKind, Glob};

/// Endpoints by pattern and methods by name; none means all.
#[derive(Debug, Clone, Default)]
pub struct Filter {
    literals: HashSet<String>,
    globs: Vec<Glob>,
    methods: Vec<String>,
}

impl Filter {
    pub fn new(endpoints: Vec<Glob>, methods: Vec<String>) -> Self {
        let mut filter = Self { methods, ..Self::default() };
        for glob in endpoints {
            match glob.literal() {
                Some(code) => drop(filter.literals.insert(code.to_owned())),
                None => filter.globs.push(glob),
            }
        }
        filter
    }

    pub fn passes_endpoint(&self, code: &str) -> bool {
        self.passes_all_endpoints()
            || self.literals.contains(code)
            || self.globs.iter().any(|glob| glob.matches(code))
    }

    fn passes_all_endpoints(&self) -> bool {
        self.literals.is_empty() && self.globs.is_empty()
    }

    /// Removals and changes of an endpoint have no method and pass by their endpoint alone; changes of
    /// anything else pass where no endpoint is named.
    pub fn passes(&self, entry: &Entry) -> bool {
        let method = match &entry.what {
            EntryKind::Capture(capture) if !self.methods.is_empty() => {
                self.methods.iter().any(|method| *method == capture.method)
            }
            _ => true,
        };
        method && entry.endpoint().map_or(self.passes_all_endpoints(), |code| self.passes_endpoint(code))
    }
}
