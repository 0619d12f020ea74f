//! Settings: where they come from, which wins, and what is said of mistakes.

use std::path::PathBuf;
use std::process::Output;

use libtest_mimic::Trial;

use crate::harness::node::{Node, creel};
use crate::harness::{Needs, TestResult, trials, workplace};

pub fn trials() -> Vec<Trial> {
    trials! {
        Needs::NOTHING =>
            flags_win_over_variables_and_variables_over_the_file,
            every_mistake_is_told_at_once,
            urls_that_cannot_be_used_are_mistakes_too,
            a_variable_with_one_underscore_too_few_is_told,
            a_file_that_cannot_be_read_is_told,
            secrets_are_never_shown,
            the_reference_of_settings_is_up_to_date,
            help_is_worth_reading,
    }
}

fn run(arguments: &[&str], settings: &[(&str, &str)]) -> TestResult<Output> {
    Ok(creel().args(arguments).envs(settings.iter().copied()).current_dir(std::env::temp_dir()).output()?)
}

fn file(text: &str) -> TestResult<PathBuf> {
    let path = workplace::new_folder("settings")?.join("creel.toml");
    std::fs::write(&path, text)?;
    Ok(path)
}

async fn flags_win_over_variables_and_variables_over_the_file() -> TestResult {
    let path = file("[capture]\nprefix = \"from-file\"\nbody_bytes_max = 7\n[api]\npage_max = 100\n")?;
    let node = Node::builder()
        .setting("config", path.display())
        .setting("capture.prefix", "from-variable")
        .start()
        .await?;
    assert_eq!(node.get("/from-variable/a").await?.status, 200);
    assert_eq!(node.get("/from-file/a").await?.status, 404);
    assert_eq!(
        node.get("/api/captures?limit=101").await?.status,
        400,
        "the file holds where nothing else does"
    );
    let large = node.request("POST", "/from-variable/a", "Content-Length: 8\r\n\r\n12345678").await?;
    assert_eq!(large.status, 413);

    let flags = ["serve", "--check-config", "--listen", "0.0.0.0:1"];
    let output = run(&flags, &[("CREEL_SERVER__LISTEN", "127.0.0.1:1")])?;
    assert_eq!(output.status.code(), Some(2), "the flag's address wants a token");
    let flags = ["serve", "--check-config", "--database", "sqlite:///nowhere/x", "--broker", "local"];
    let output = run(&flags, &[("CREEL_DATABASE__URL", "nonsense"), ("CREEL_BROKER__URL", "nonsense")])?;
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    assert_eq!(String::from_utf8(output.stdout)?, "the settings are valid\n");
    Ok(())
}

async fn every_mistake_is_told_at_once() -> TestResult {
    let path = file("[server]\nlistn = \"x\"\n[zzz]\na = 1\n[retention]\nage_s_max = \"old\"\n")?;
    let path = path.to_str().ok_or("a path")?;
    let settings = [
        ("CREEL_SERVER__LISTEN", "nonsense"),
        ("CREEL_SERVER__API_LISTEN", "127.0.0.1"),
        ("CREEL_SERVER__TRUSTED_PROXIES", "10.0.0.0/8,10.0.0.0/99"),
        ("CREEL_SERVER__PUBLIC_URL", "https://hooks.example/path"),
        ("CREEL_CAPTURE__AUTO_CREATE", "maybe"),
        ("CREEL_CAPTURE__PREFIX", "api"),
        ("CREEL_CAPTURE__BODY_BYTES_MAX", "-1"),
        ("CREEL_JOURNAL__QUEUE_BYTES_MAX", "1"),
        ("CREEL_STREAM__HEARTBEAT_MS", "0"),
        ("CREEL_DATABASE__MIGRATE", "maybe"),
        ("CREEL_DATABASE__URL", "mysql://user:word@host/name"),
        ("CREEL_BROKER__TOPIC_PREFIX", "amq"),
        ("CREEL_AUTH__TOKENS", "short"),
        ("CREEL_LOG__FORMAT", "xml"),
        ("CREEL_LOG__LEVEL", "a=b=c"),
        ("CREEL_CAPTURE__WEBSOKET__ECHO", "true"),
    ];
    let output = run(&["--config", path], &settings)?;
    assert_eq!(output.status.code(), Some(2));
    let text = String::from_utf8(output.stderr)?;
    let of_file = format!("({path})");
    let expected = [
        ("server.listn: there is no such setting", of_file.as_str()),
        ("zzz.a: there is no such setting", &of_file),
        ("retention.age_s_max: this must be a whole number, not negative", &of_file),
        ("server.listen: this must be an address and a port, as 127.0.0.1:9669", "CREEL_SERVER__LISTEN"),
        ("server.api_listen: this must be an address and a port", "CREEL_SERVER__API_LISTEN"),
        ("server.trusted_proxies: `10.0.0.0/99` is no address and no range", "CREEL_SERVER__TRUSTED_PROXIES"),
        ("server.public_url: this must be an http or https URL without a path", ""),
        ("capture.auto_create: this must be `true` or `false`", "CREEL_CAPTURE__AUTO_CREATE"),
        ("capture.prefix: `api` is reserved", ""),
        (
            "capture.body_bytes_max: this must be a whole number, not negative",
            "CREEL_CAPTURE__BODY_BYTES_MAX",
        ),
        ("journal.queue_bytes_max: this must have room for one capture", ""),
        ("stream.heartbeat_ms: this must be at least 1", ""),
        ("database.migrate: this must be `auto` or `off`", "CREEL_DATABASE__MIGRATE"),
        ("database.url: this must begin with sqlite:// or postgres://", ""),
        ("broker.topic_prefix: `amq.journal` must be at most 200 characters and not begin with `amq.`", ""),
        ("auth.tokens: a token has at least 16 characters", ""),
        ("log.format: this must be `text` or `json`", "CREEL_LOG__FORMAT"),
        ("log.level: this must be `error`", ""),
        ("capture.websoket.echo: there is no such setting", "did you mean `capture.websocket.echo`?"),
    ];
    for (mistake, origin) in expected {
        let line = text.lines().find(|line| line.contains(mistake));
        let line = line.ok_or_else(|| format!("{mistake} is missing in\n{text}"))?;
        assert!(line.starts_with("  - ") && line.contains(origin), "{line}");
    }
    assert_eq!(text.lines().count(), 1 + expected.len(), "{text}");
    Ok(())
}

async fn urls_that_cannot_be_used_are_mistakes_too() -> TestResult {
    let missing = "database.url: failed to read certificates of sslrootcert from /nowhere/ca.pem";
    let verify = "postgres://u:secret@h/d?sslmode=verify-full&sslrootcert=/nowhere/ca.pem";
    let cases = [
        ("DATABASE", "sqlite://", "database.url: this must name a file"),
        ("DATABASE", "sqlite://?mode=ro", "database.url: this must name a file"),
        ("DATABASE", "postgres://u:secret@h:99999/d", "database.url: invalid port number"),
        ("DATABASE", "postgres://u:secret@h/d?nonsense=1", "`nonsense`"),
        ("DATABASE", verify, missing),
        ("BROKER", "redis://", "broker.url: it has no host"),
        ("BROKER", "redis://u:secret@h:99999", "broker.url: it has a port that is no number up to 65535"),
        ("BROKER", "redis://h/notanumber", "broker.url: it has a path that is no database's number"),
        ("BROKER", "amqp://u:secret@h:99999", "broker.url: it has a port that is no number up to 65535"),
        ("BROKER", "amqp://", "broker.url: it has no host"),
    ];
    let folder = workplace::new_folder("urls")?;
    for (section, url, mistake) in cases {
        // Together with one of another kind.
        let settings = [(&*format!("CREEL_{section}__URL"), url), ("CREEL_LOG__FORMAT", "xml")];
        for arguments in [&["serve", "--check-config"][..], &["serve"]] {
            let output = creel().args(arguments).envs(settings).current_dir(&folder).output()?;
            let text = String::from_utf8(output.stderr)?;
            assert_eq!(output.status.code(), Some(2), "{url}: {text}");
            let line = text.lines().find(|line| line.contains(mistake));
            let line = line.ok_or_else(|| format!("{mistake} is missing for {url} in\n{text}"))?;
            let setting = format!("  - {}.url: ", section.to_lowercase());
            assert!(line.starts_with(&setting), "{line}");
            assert!(text.contains("  - log.format: "), "{text}");
            assert!(!text.contains("secret"), "{text}");
        }
    }
    assert_eq!(std::fs::read_dir(&folder)?.count(), 0, "nothing was made");
    Ok(())
}

async fn a_variable_with_one_underscore_too_few_is_told() -> TestResult {
    let settings = [("CREEL_SERVER_LISTEN", "0.0.0.0:1"), ("CREEL_PORT", "tcp://10.0.0.1:9669")];
    let output = run(&["serve", "--check-config"], &settings)?;
    assert!(output.status.success(), "it is passed over all the same");
    let text = String::from_utf8(output.stderr)?;
    assert!(
        text.contains("CREEL_SERVER_LISTEN is passed over") && text.contains("CREEL_SERVER__LISTEN"),
        "{text}"
    );
    assert_eq!(text.lines().count(), 1, "{text}");
    Ok(())
}

async fn a_file_that_cannot_be_read_is_told() -> TestResult {
    let broken = file("[server]\nlisten\n")?;
    let broken = broken.to_str().ok_or("a path")?;
    for (path, reason) in [("/nowhere/creel.toml", "/nowhere/creel.toml"), (broken, "line 2")] {
        let output = run(&["--config", path], &[])?;
        assert_eq!(output.status.code(), Some(2));
        let text = String::from_utf8(output.stderr)?;
        assert!(text.contains(reason), "{text}");
    }
    Ok(())
}

async fn secrets_are_never_shown() -> TestResult {
    const WORD: &str = "s3cret-word-0123456789";
    let node = Node::builder().setting("auth.tokens", WORD).setting("log.level", "trace").start().await?;
    node.request("GET", "/api/captures", &format!("Authorization: Bearer {WORD}\r\n")).await?;
    node.request("GET", "/api/captures", &format!("Authorization: Bearer {WORD}x\r\n")).await?;
    node.request("GET", "/r/a", &format!("Authorization: Bearer {WORD}\r\nX-Key: {WORD}\r\n")).await?;
    node.post("/r/a", WORD).await?;
    node.term().await?;
    assert!(!node.log().contains(WORD), "{}", node.log());

    let url = |scheme: &str| format!("{scheme}://user:{WORD}@127.0.0.1:1/name");
    type Attempt<'a> = (&'a [&'a str], Vec<(&'a str, String)>);
    let attempts: [Attempt<'_>; 3] = [
        (&["migrate"], vec![("CREEL_DATABASE__URL", url("postgres"))]),
        (&["serve"], vec![("CREEL_DATABASE__URL", url("mysql")), ("CREEL_BROKER__URL", url("kafka"))]),
        (&["serve"], vec![("CREEL_DATABASE__URL", format!("{}?sslmode=nonsense", url("postgres")))]),
    ];
    for (arguments, settings) in attempts {
        let settings: Vec<_> = settings.iter().map(|(name, value)| (*name, value.as_str())).collect();
        let output = run(arguments, &settings)?;
        assert!(!output.status.success());
        let text = String::from_utf8([output.stdout, output.stderr].concat())?;
        assert!(!text.contains(WORD) && !text.is_empty(), "{arguments:?}: {text}");
    }
    Ok(())
}

async fn the_reference_of_settings_is_up_to_date() -> TestResult {
    let made = String::from_utf8(run(&["settings-reference"], &[])?.stdout)?;
    let kept = include_str!("../../docs/settings.md");
    if made != kept {
        return Err("docs/settings.md is not what src/config.default.toml says; run `make docs`".into());
    }
    Ok(())
}

async fn help_is_worth_reading() -> TestResult {
    let table: [(&[&str], &[&str]); 4] = [
        (
            &["--help"],
            &["serve", "migrate", "healthcheck", "127.0.0.1:9669", "./creel-data", "--check-config"],
        ),
        (
            &["serve", "--help"],
            &["--config", "--database", "--listen", "--broker", "docs/settings.md", "CREEL_CAPTURE__PREFIX"],
        ),
        (&["migrate", "--help"], &["--database", "--config"]),
        (&["healthcheck", "--help"], &["--url", "--timeout-ms", "http://127.0.0.1:9669/healthz"]),
    ];
    for (arguments, words) in table {
        let output = run(arguments, &[])?;
        assert!(output.status.success());
        let text = String::from_utf8(output.stdout)?;
        for word in words {
            assert!(text.contains(word), "{arguments:?} lacks {word}:\n{text}");
        }
        assert!(text.lines().all(|line| line.chars().count() <= 100), "{text}");
        assert!(!text.contains("settings-reference"), "that one is for `make docs`");
    }
    let wrong = run(&["serve", "--prot", "80"], &[])?;
    assert_eq!(wrong.status.code(), Some(2));
    assert_eq!(run(&["--version"], &[])?.stdout, format!("creel {}\n", env!("CARGO_PKG_VERSION")).as_bytes());
    Ok(())
}
