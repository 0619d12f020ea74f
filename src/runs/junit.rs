//! A summary as JUnit XML, as CI systems read it: a suite for the run, a case for each verification. (There is no
//! standard; these are the elements and attributes that Jenkins, GitLab and GitHub's reporters agree on.)

use std::fmt::Write as _;

use super::Summary;
use crate::model::run::Verification;
use crate::model::time::rfc3339;

/// The document, in UTF-8.
pub fn document(summary: &Summary) -> String {
    let (run, asked) = (&summary.run, &summary.verifications);
    // As many as were made, not as many as are listed: what failed is to be seen wherever it stands.
    let unlisted = Unlisted::of(summary);
    let failures = asked.iter().filter(|asked| !asked.passed).count() + unlisted.failed;
    let totals = format!(
        "tests=\"{}\" failures=\"{failures}\" errors=\"0\" skipped=\"0\" time=\"{}\"",
        asked.len() + unlisted.failed + unlisted.passed,
        seconds(asked.iter().map(|asked| asked.took_us).sum()),
    );
    let name = attribute(&run.name);
    let mut xml = String::from("<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n");
    let head = format!(
        "<testsuites name=\"{name}\" {totals}>\n  <testsuite name=\"{name}\" {totals} timestamp=\"{}\">\n",
        rfc3339(run.opened_us)
    );
    xml.push_str(&head);
    xml.push_str("    <properties>\n");
    let captures = summary.counts.captures.total.to_string();
    let unmatched = summary.counts.unmatched.to_string();
    let own = [("run", run.id.as_str()), ("captures", &captures), ("unmatched", &unmatched)];
    let labels = run.labels.iter().map(|(name, value)| (name.as_str(), value.as_str()));
    for (name, value) in own.into_iter().chain(labels) {
        line(
            &mut xml,
            format_args!("      <property name=\"{}\" value=\"{}\"/>", attribute(name), attribute(value)),
        );
    }
    xml.push_str("    </properties>\n");
    for (asked, number) in asked.iter().zip(1..) {
        case(&mut xml, &name, asked, number);
    }
    unlisted.write(&mut xml, &name);
    xml.push_str("  </testsuite>\n</testsuites>\n");
    xml
}

/// Verifications that were made and are not listed.
struct Unlisted {
    passed: usize,
    failed: usize,
}

impl Unlisted {
    fn of(summary: &Summary) -> Self {
        let Summary { run, verifications, .. } = summary;
        let passed = verifications.iter().filter(|asked| asked.passed).count();
        // The list was read after the run, and may have more.
        let beyond = |made: i64, listed| usize::try_from(made).unwrap_or_default().saturating_sub(listed);
        Self {
            passed: beyond(run.passed, passed),
            failed: beyond(run.made - run.passed, verifications.len() - passed),
        }
    }

    /// A case for all that failed, and one for all that passed, so that readers which count cases see them too.
    fn write(&self, xml: &mut String, suite: &str) {
        let Self { passed, failed } = *self;
        if failed > 0 {
            let said = format!("{failed} more failed, not listed");
            line(
                xml,
                format_args!(
                    "    <testcase name=\"{said}\" classname=\"{suite}\" time=\"0.000\">\n      \
                     <failure message=\"{said}\" type=\"unlisted\">{said}</failure>\n    </testcase>"
                ),
            );
        }
        if passed > 0 {
            line(
                xml,
                format_args!(
                    "    <testcase name=\"{passed} more passed, not listed\" classname=\"{suite}\" time=\"0.000\"/>"
                ),
            );
        }
    }
}

fn case(xml: &mut String, suite: &str, asked: &Verification, number: usize) {
    let kind = asked.kind.name();
    let name = match asked.name.as_str() {
        "" => format!("{kind} {number}"),
        name => attribute(name),
    };
    let head = format!(
        "    <testcase name=\"{name}\" classname=\"{suite}.{kind}\" time=\"{}\"",
        seconds(asked.took_us)
    );
    if asked.passed {
        return line(xml, format_args!("{head}/>"));
    }
    let why = asked.why.as_deref().unwrap_or("it failed");
    let first = why.lines().next().unwrap_or_default();
    line(
        xml,
        format_args!(
            "{head}>\n      <failure message=\"{}\" type=\"{kind}\">{}</failure>\n    </testcase>",
            attribute(first),
            escaped(why)
        ),
    );
}

fn line(xml: &mut String, text: std::fmt::Arguments<'_>) {
    writeln!(xml, "{text}").expect("writing to a String cannot fail");
}

fn seconds(us: i64) -> String {
    let us = us.max(0);
    format!("{}.{:03}", us / 1_000_000, us % 1_000_000 / 1_000)
}

/// A text as it stands in an attribute, where bare whitespace would be read as blanks (XML 1.0, section 3.3.3).
fn attribute(text: &str) -> String {
    escaped(text).replace('\n', "&#10;").replace('\t', "&#9;")
}

/// A text as it stands between tags. What XML 1.0 has no character for (section 2.2) is replaced.
fn escaped(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for letter in text.chars() {
        match letter {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            '\r' => out.push_str("&#13;"),
            '\n' | '\t' => out.push(letter),
            '\0'..='\u{1f}' | '\u{fffe}' | '\u{ffff}' => out.push('\u{fffd}'),
            other => out.push(other),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::run::{AtClosing, RunState, VerificationKind};
    use crate::model::{Cursor, Run};
    use crate::runs::Counts;

    fn document_of(made: i64, passed: i64, listed: &[bool]) -> String {
        let run = Run {
            id: "id".to_owned(),
            name: "<a>".to_owned(),
            labels: [].into(),
            prefix: "run-a-".to_owned(),
            state: RunState::Open,
            captures: AtClosing::Keep,
            opened_us: 0,
            expires_us: 0,
            closed_us: None,
            start: Cursor::default(),
            end_seq: None,
            token: None,
            opened_by: None,
            made,
            passed,
            counts: None,
        };
        let asked = |passed: &bool| Verification {
            name: String::new(),
            kind: VerificationKind::Wait,
            passed: *passed,
            why: None,
            at_us: 0,
            took_us: 1_000,
        };
        let verifications = listed.iter().map(asked).collect();
        document(&Summary { run, counts: Counts::default(), verifications })
    }

    fn marks(xml: &str) -> (usize, usize) {
        (xml.matches("<testcase ").count(), xml.matches("<failure ").count())
    }

    #[test]
    fn what_failed_is_a_failure_though_it_is_not_listed() {
        let xml = document_of(7, 4, &[true, false]);
        assert!(xml.contains("tests=\"7\" failures=\"3\""), "{xml}");
        assert!(xml.contains("2 more failed, not listed") && xml.contains("3 more passed, not listed"));
        assert_eq!(marks(&xml), (4, 2), "{xml}");
        let xml = document_of(2, 1, &[true, false]);
        assert!(xml.contains("tests=\"2\" failures=\"1\"") && !xml.contains("listed"), "{xml}");
        let xml = document_of(1, 1, &[true, false, true]);
        assert!(xml.contains("tests=\"3\" failures=\"1\""), "made while it was read: {xml}");
    }
}
