//! What each part is told of the settings.

use crate::config::{self, Settings};
use crate::feed::HubOptions;
use crate::http::ServerOptions;
use crate::inquiry::InquiryOptions;
use crate::intake::{IntakeOptions, JournalOptions};
use crate::runs::RunOptions;
use crate::upkeep::{RollupOptions, UpkeepOptions};

pub fn hub(feed: &config::Feed) -> HubOptions {
    HubOptions {
        ring_events_max: feed.ring_events_max,
        ring_bytes_max: feed.ring_bytes_max,
        parked_max: feed.parked_max,
        gap_wait: feed.gap_wait(),
        head_poll: feed.head_poll(),
        catch_up_page: feed.catch_up_page,
        catch_up_bytes_max: feed.catch_up_bytes_max,
        catch_up_readers_max: feed.catch_up_readers_max,
    }
}

pub fn journal(settings: &Settings) -> JournalOptions {
    let journal = &settings.journal;
    JournalOptions {
        queue_bytes_max: journal.queue_bytes_max,
        queue_captures_max: journal.queue_captures_max,
        batch_bytes_max: journal.batch_bytes_max,
        batch_captures_max: journal.batch_captures_max,
        commit_deadline: journal.commit_deadline(),
        rules_body_bytes_max: settings.rules.body_bytes_max,
    }
}

pub fn intake(settings: &Settings) -> IntakeOptions {
    IntakeOptions {
        body_bytes_max: settings.capture.body_bytes_max,
        body_inline_bytes_max: settings.journal.body_inline_bytes_max,
        body_part_bytes: settings.journal.body_part_bytes,
        client_rate_max: settings.capture.client_rate_max,
        endpoints_max: settings.capture.endpoints_max,
        rules_body_bytes_max: settings.rules.body_bytes_max,
    }
}

pub fn upkeep(settings: &Settings) -> UpkeepOptions {
    let (retention, reports) = (&settings.retention, &settings.reports);
    UpkeepOptions {
        age_s_max: retention.age_s_max,
        captures_per_endpoint_max: retention.captures_per_endpoint_max,
        bytes_max: retention.bytes_max,
        interval: retention.interval(),
        step_captures: retention.step_captures,
        rollups: reports.enabled.then(|| RollupOptions {
            rows_per_minute_max: reports.rows_per_minute_max,
            minutes_age: reports.minutes_age(),
            hours_age: reports.hours_age(),
            age: reports.age(),
        }),
    }
}

pub fn inquiry(settings: &Settings) -> InquiryOptions {
    let inquiry = &settings.inquiry;
    InquiryOptions {
        scan_max: inquiry.scan_max,
        scan_time_max: inquiry.scan_time_max(),
        scans_max: inquiry.scans_max,
        scans_waiting_max: inquiry.scans_waiting_max,
        body_bytes_max: settings.rules.body_bytes_max,
    }
}

pub fn runs(settings: &Settings) -> RunOptions {
    RunOptions {
        open_max: settings.runs.open_max,
        kept: settings.runs.kept(),
        rules_max: settings.rules.rules_max,
        endpoints_max: settings.rules.endpoints_max,
        rules: settings.rules.options(),
    }
}

pub fn server(settings: &Settings) -> ServerOptions {
    let server = &settings.server;
    ServerOptions {
        listen: server.listen,
        api_listen: server.api_listen,
        workers: server.workers,
        connections_max: server.connections_max,
        head_timeout: server.head_timeout(),
        keep_alive: server.keep_alive(),
        write_timeout: settings.stream.write_timeout(),
        patience: super::patience(server.shutdown_timeout()),
    }
}
