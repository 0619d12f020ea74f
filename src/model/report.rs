//! Reports: the spans of time that captures are counted by, and what the groups are.

/// A span that captures are counted by, as clocks have it in UTC.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Span {
    Minute,
    Hour,
    Day,
}

/// What a report's groups are made by.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum GroupBy {
    Endpoint,
    Method,
    Status,
    Rule,
}

/// How the busiest endpoints are told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BusiestBy {
    Captures,
    Bytes,
}

impl Span {
    pub const ALL: [Self; 3] = [Self::Minute, Self::Hour, Self::Day];

    pub fn parse(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|span| span.name() == name)
    }

    pub fn name(self) -> &'static str {
        match self {
            Self::Minute => "minute",
            Self::Hour => "hour",
            Self::Day => "day",
        }
    }

    /// Its length in microseconds.
    pub const fn us(self) -> i64 {
        match self {
            Self::Minute => 60_000_000,
            Self::Hour => 3_600_000_000,
            Self::Day => 86_400_000_000,
        }
    }

    /// The one that it is made from.
    pub fn finer(self) -> Option<Self> {
        match self {
            Self::Minute => None,
            Self::Hour => Some(Self::Minute),
            Self::Day => Some(Self::Hour),
        }
    }

    /// The beginning of the span that an instant lies in.
    pub fn begin(self, us: i64) -> i64 {
        us - us.rem_euclid(self.us())
    }

    /// The end of the last span that has something before an instant.
    pub fn end(self, us: i64) -> i64 {
        us + (-us).rem_euclid(self.us())
    }
}

impl GroupBy {
    const ALL: [Self; 4] = [Self::Endpoint, Self::Method, Self::Status, Self::Rule];

    pub fn parse(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|by| by.name() == name)
    }

    pub fn name(self) -> &'static str {
        match self {
            Self::Endpoint => "endpoint",
            Self::Method => "method",
            Self::Status => "status",
            Self::Rule => "rule",
        }
    }
}

impl BusiestBy {
    pub fn parse(name: &str) -> Option<Self> {
        [Self::Captures, Self::Bytes].into_iter().find(|by| by.name() == name)
    }

    pub fn name(self) -> &'static str {
        match self {
            Self::Captures => "captures",
            Self::Bytes => "bytes",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_instant_lies_between_its_spans_ends() {
        let table = [
            (0, 0, 0),
            (1, 0, 60_000_000),
            (59_999_999, 0, 60_000_000),
            (60_000_000, 60_000_000, 60_000_000),
        ];
        for (us, begin, end) in table {
            assert_eq!((Span::Minute.begin(us), Span::Minute.end(us)), (begin, end), "{us}");
        }
        assert_eq!((Span::Hour.begin(-1), Span::Hour.end(-1)), (-3_600_000_000, 0));
    }
}
