//! Reading metrics.

use libtest_mimic::Trial;

use crate::harness::node::sum_samples;
use crate::harness::{Needs, TestResult, trials};

const TEXT: &str = "\
# HELP creel_captures Captures.
# TYPE creel_captures counter
creel_captures_total{result=\"kept\",kind=\"http\"} 3
creel_captures_total{result=\"refused\",kind=\"http\"} 4
creel_captures_total_of_another 100
creel_ring_events 7.5
";

pub fn trials() -> Vec<Trial> {
    trials! { Needs::NOTHING => samples_are_added_up, a_misspelt_metric_is_an_error }
}

async fn samples_are_added_up() -> TestResult {
    assert_eq!(sum_samples(TEXT, "creel_captures_total", &[])?, 7.0);
    assert_eq!(sum_samples(TEXT, "creel_captures_total", &[("result", "refused"), ("kind", "http")])?, 4.0);
    assert_eq!(sum_samples(TEXT, "creel_ring_events", &[])?, 7.5);
    Ok(())
}

async fn a_misspelt_metric_is_an_error() -> TestResult {
    assert!(sum_samples(TEXT, "creel_capture_total", &[]).is_err());
    assert!(sum_samples(TEXT, "creel_captures_total", &[("result", "lost")]).is_err());
    Ok(())
}
