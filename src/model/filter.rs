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
    /// What all codes that pass begin with; empty where they have nothing in common.
    pub beginning: &'a str,
    /// False where nothing can pass.
    pub is_possible: bool,
}

impl Narrowed<'_> {
    /// Whether nothing is known of the endpoints.
    pub fn is_of_all(&self) -> bool {
        self.endpoint.is_none() && self.patterns == [None; 2] && self.beginning.is_empty()
    }
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
        let patterns = [self.within.as_ref(), glob];
        Narrowed { endpoint, patterns, beginning: self.beginning(), is_possible }
    }

    fn beginning(&self) -> &str {
        let literals = self.literals.iter().map(String::as_str);
        let named = literals.chain(self.globs.iter().map(Glob::beginning)).reduce(common).unwrap_or_default();
        let within = self.within.as_ref().map(Glob::beginning).unwrap_or_default();
        // Codes that pass begin with both.
        if within.len() > named.len() { within } else { named }
    }

    pub fn passes_endpoint(&self, code: &str) -> bool {
        self.within.as_ref().is_none_or(|pattern| pattern.matches(code)) && self.is_named(code)
    }

    /// The codes of the endpoints that pass, where these are named one by one.
    pub fn codes(&self) -> Option<impl Iterator<Item = &str>> {
        let is_list = self.globs.is_empty() && !self.literals.is_empty();
        is_list.then(|| self.literals.iter().map(String::as_str))
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

/// What two texts both begin with.
fn common<'a>(one: &'a str, other: &str) -> &'a str {
    let pairs = one.char_indices().zip(other.chars());
    let same = pairs.take_while(|((_, a), b)| a == b).map(|((at, a), _)| at + a.len_utf8()).last();
    &one[..same.unwrap_or_default()]
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn filter(endpoints: &[String], within: Option<&str>) -> Filter {
        let globs = endpoints.iter().map(|pattern| Glob::parse(pattern).unwrap()).collect();
        Filter::new(globs, Vec::new()).within(within.map(|pattern| Glob::parse(pattern).unwrap()))
    }

    #[test]
    fn a_beginning_is_what_all_codes_have_in_common() {
        for (endpoints, within, expected) in [
            (&[][..], None, ""),
            (&["a"], None, "a"),
            (&["run-1-*"], None, "run-1-"),
            (&["run-1-a", "run-1-b*", "run-1-*c"], None, "run-1-"),
            (&["a", "b"], None, ""),
            (&["*"], Some("team-*"), "team-"),
            (&["team-a", "team-b"], Some("team-*"), "team-"),
            (&["te*"], Some("team-*"), "team-"),
            (&["é1", "è1"], None, ""),
        ] {
            let endpoints: Vec<String> = endpoints.iter().map(|text| (*text).to_owned()).collect();
            let filter = filter(&endpoints, within);
            assert_eq!(filter.narrowed().beginning, expected, "{endpoints:?} {within:?}");
        }
        assert!(filter(&[], None).narrowed().is_of_all() && !filter(&[], Some("*-a")).narrowed().is_of_all());
    }

    proptest! {
        /// Nothing that passes lies outside of what a query is told.
        #[test]
        fn what_passes_lies_within_what_is_narrowed(
            endpoints in prop::collection::vec("[ab*]{1,4}", 0..4),
            within in prop::option::of("[ab*]{1,3}"),
            code in "[ab]{1,6}",
        ) {
            let filter = filter(&endpoints, within.as_deref());
            let only = filter.narrowed();
            if filter.passes_endpoint(&code) {
                prop_assert!(only.is_possible && code.starts_with(only.beginning));
                prop_assert!(only.endpoint.is_none_or(|only| only == code));
                prop_assert!(only.patterns.iter().flatten().all(|pattern| pattern.matches(&code)));
            }
        }
    }
}
