//! The table, and the same as JSON.

use serde::Serialize;
use serde_json::{Value, json};

use crate::harness::TestResult;

#[derive(Default)]
pub struct Report {
    captures: Vec<CaptureRow>,
    fanouts: Vec<FanoutRow>,
    rules: Option<RulesRow>,
    waits: Vec<WaitsRow>,
}

#[derive(Debug, Clone, Serialize)]
pub struct CaptureRow {
    name: String,
    connections: usize,
    pub per_second: f64,
    p50_ms: Option<f64>,
    p99_ms: Option<f64>,
    rss_mib: Option<f64>,
}

#[derive(Debug, Clone, Serialize)]
pub struct FanoutRow {
    pub subscribers: usize,
    pub burst_per_second: f64,
    pub steady_per_second: f64,
    pub p50_ms: f64,
    pub p99_ms: f64,
    pub idle_socket_bytes: Option<f64>,
}

/// How long waits take to hear of what they wait for.
#[derive(Debug, Clone, Serialize)]
pub struct WaitsRow {
    /// Waits at a time.
    pub waiters: usize,
    pub captures_per_second: f64,
    /// Answers of waits that were taken into account.
    pub answers: u64,
    /// From the answer to the sender to the answer to the waiter.
    pub p50_ms: f64,
    pub p99_ms: f64,
    /// Of one core, by the waiters' node.
    pub node_cpu: f64,
}

/// What rules cost.
#[derive(Debug, Clone, Serialize)]
pub struct RulesRow {
    /// Captures a second into SQLite, without rules and with many.
    pub none_per_second: f64,
    pub many_per_second: f64,
    /// Microseconds to hold one request against a thousand patterns on its path, or on its body.
    pub path_us: f64,
    pub body_us: f64,
}

impl CaptureRow {
    pub fn of(name: &str, connections: usize, result: &Value, rss_kib: u64) -> Self {
        let ms = |key: &str| result[key].as_f64().map(|us| us / 1000.0);
        Self {
            name: name.to_owned(),
            connections,
            per_second: result["per_second"].as_f64().unwrap_or_default(),
            p50_ms: ms("p50_us"),
            p99_ms: ms("p99_us"),
            rss_mib: Some(rss_kib as f64 / 1024.0),
        }
    }

    pub fn of_rate(name: &str, connections: usize, per_second: f64) -> Self {
        Self { name: name.to_owned(), connections, per_second, p50_ms: None, p99_ms: None, rss_mib: None }
    }
}

/// What does nothing but the journal, in the database that a row is of.
fn sketch_of(name: &str) -> Option<&'static str> {
    ["sqlite sketch", "postgres sketch"].into_iter().find(|sketch| {
        let database = sketch.split(' ').next().unwrap_or_default();
        name.starts_with(database)
    })
}

impl Report {
    pub fn new() -> Self {
        Self::default()
    }

    pub fn capture(&mut self, row: CaptureRow) {
        println!("{:<22} {:>4} connections: {:>9.0}/s", row.name, row.connections, row.per_second);
        self.captures.push(row);
    }

    pub fn fanout(&mut self, row: FanoutRow) {
        println!("{:>4} subscribers: {:>9.0} deliveries/s", row.subscribers, row.burst_per_second);
        self.fanouts.push(row);
    }

    pub fn waits(&mut self, row: WaitsRow) {
        println!("{:>4} waiters: p99 {:.2} ms", row.waiters, row.p99_ms);
        self.waits.push(row);
    }

    pub fn rules(&mut self, row: RulesRow) {
        self.rules = Some(row);
    }

    pub fn print(&self) {
        let figure =
            |value: Option<f64>, digits: usize| value.map_or("-".into(), |v| format!("{v:.digits$}"));
        let percent =
            |share: Option<f64>| share.map_or("-".into(), |share| format!("{:.0} %", share * 100.0));
        if !self.captures.is_empty() {
            println!("\nCapture, 1 KiB JSON, one `body=none` subscriber\n");
            println!(
                "| what | connections | captures/s | of bare | of the sketch | of one INSERT | p50 ms | p99 ms | memory MiB |"
            );
            println!("| --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: |");
        }
        for row in &self.captures {
            let share = |of: &str| {
                let base = self.captures.iter().find(|r| r.name == of && r.connections == row.connections);
                base.map(|base| row.per_second / base.per_second)
            };
            println!(
                "| {} | {} | {:.0} | {} | {} | {} | {} | {} | {} |",
                row.name,
                row.connections,
                row.per_second,
                percent(share("bare actix")),
                percent(sketch_of(&row.name).and_then(&share)),
                figure(share("one INSERT a request"), 2),
                figure(row.p50_ms, 2),
                figure(row.p99_ms, 2),
                figure(row.rss_mib, 0),
            );
        }
        if let Some(rules) = &self.rules {
            println!(
                "\nRules: 64 connections into SQLite; patterns that are for every endpoint, none of which match\n"
            );
            println!(
                "| no rules, captures/s | 10,000 rules over 1,000 endpoints | of none | 1,000 patterns on the path, us | on 1 KiB of body, us |"
            );
            println!("| ---: | ---: | ---: | ---: | ---: |");
            let share = rules.many_per_second / rules.none_per_second * 100.0;
            let (none, many) = (rules.none_per_second, rules.many_per_second);
            println!(
                "| {none:.0} | {many:.0} | {share:.0} % | {:.0} | {:.0} |",
                rules.path_us, rules.body_us
            );
        }
        if !self.waits.is_empty() {
            println!("\nWaits through the other node, Postgres and Redis, at a steady rate of captures\n");
            println!("| waits at a time | captures/s | answers | p50 ms | p99 ms | of a core, their node |");
            println!("| ---: | ---: | ---: | ---: | ---: | ---: |");
        }
        for row in &self.waits {
            println!(
                "| {} | {:.0} | {} | {:.2} | {:.2} | {:.0} % |",
                row.waiters,
                row.captures_per_second,
                row.answers,
                row.p50_ms,
                row.p99_ms,
                row.node_cpu * 100.0
            );
        }
        if !self.fanouts.is_empty() {
            println!("\nFan-out of 1 KiB captures over two nodes, Postgres and Redis\n");
            println!(
                "| subscribers | burst, deliveries/s | steady, deliveries/s | p50 ms | p99 ms | bytes an idle socket |"
            );
            println!("| ---: | ---: | ---: | ---: | ---: | ---: |");
        }
        for row in &self.fanouts {
            println!(
                "| {} | {:.0} | {:.0} | {:.2} | {:.2} | {} |",
                row.subscribers,
                row.burst_per_second,
                row.steady_per_second,
                row.p50_ms,
                row.p99_ms,
                figure(row.idle_socket_bytes, 0)
            );
        }
    }

    /// Writes `bench-results/latest.json`.
    pub fn save(&self) -> TestResult {
        let cores = std::thread::available_parallelism()?.get();
        let all = json!({"cores": cores, "capture": self.captures, "fanout": self.fanouts, "rules": self.rules,
            "waits": self.waits});
        std::fs::create_dir_all("bench-results")?;
        std::fs::write("bench-results/latest.json", serde_json::to_string_pretty(&all)?)?;
        println!("\nbench-results/latest.json has the same as JSON");
        Ok(())
    }
}
