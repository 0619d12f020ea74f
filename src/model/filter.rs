//! What a reader of the journal wants to see: a subscriber, or who asks about what is kept.

use std::collections::HashSet;

use super::{Entry, EntryKind, Glob};

/// Endpoints by pattern and methods by name; none means all.
#[derive(Debug, Clone, Default)]
pub struct Filter {
    /// What the subscriber may see at all.
    within: Option<Glob>,
    literals: HashSet<String>,
    globs: Vec<Glob>,
    methods: Vec<String>,
}

/// The endpoints of a filter, as far as one endpoint and two patterns tell; there may be others among them.
#[derive(Debug, Clone, Copy)]
pub struct Narrowed<'a> {
    pub endpoint: Option<&'a str>,
    pub patterns: [Option<&'a Glob>; 2],
    /// False where nothing can pass.
    pub is_possible: bool,
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

    /// The filter of a subscriber who may see no more than the endpoints of a pattern.
    pub fn within(self, pattern: Option<Glob>) -> Self {
        Self { within: pattern, ..self }
    }

    /// What can be said of it in a query, so that little has to be sorted out afterwards.
    pub fn narrowed(&self) -> Narrowed<'_> {
        let literal =
            self.literals.iter().next().filter(|_| self.literals.len() == 1 && self.globs.is_empty());
        let glob = self.globs.first().filter(|_| self.globs.len() == 1 && self.literals.is_empty());
        let endpoint = literal.map(String::as_str);
        let is_possible = endpoint.is_none_or(|code| self.passes_endpoint(code));
        Narrowed { endpoint, patterns: [self.within.as_ref(), glob], is_possible }
    }

    pub fn passes_endpoint(&self, code: &str) -> bool {
        self.within.as_ref().is_none_or(|pattern| pattern.matches(code)) && self.is_named(code)
    }

    fn is_named(&self, code: &str) -> bool {
        self.names_no_endpoint()
            || self.literals.contains(code)
            || self.globs.iter().any(|glob| glob.matches(code))
    }

    fn passes_changes_of_all(&self) -> bool {
        self.within.is_none() && self.names_no_endpoint()
    }

    fn names_no_endpoint(&self) -> bool {
        self.literals.is_empty() && self.globs.is_empty()
    }

    /// Removals and changes of an endpoint have no method and pass by their endpoint alone; changes of
    /// anything else pass where no endpoint is named, to who may see all.
    pub fn passes(&self, entry: &Entry) -> bool {
        let method = match &entry.what {
            EntryKind::Capture(capture) if !self.methods.is_empty() => {
                self.methods.iter().any(|method| *method == capture.method)
            }
            _ => true,
        };
        method && entry.endpoint().map_or(self.passes_changes_of_all(), |code| self.passes_endpoint(code))
    }
}
