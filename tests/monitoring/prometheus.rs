//! A real Prometheus, and a real node_exporter, on the project's own configuration.

use std::fs;
use std::io::Write as _;
use std::net::{Ipv4Addr, SocketAddr};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use serde_json::Value;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

const PACKAGING: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/packaging/prometheus");
/// On a machine that others use, too.
const PATIENCE: Duration = Duration::from_secs(180);

pub(crate) struct Prometheus {
    address: SocketAddr,
    children: Vec<Child>,
    _home: tempfile::TempDir,
    started: SystemTime,
}

/// A series with its values, each with its time.
#[derive(Clone, Debug)]
pub(crate) struct Found {
    pub(crate) labels: String,
    pub(crate) values: Vec<(f64, f64)>,
}

fn free() -> SocketAddr {
    std::net::TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap().local_addr().unwrap()
}

impl Prometheus {
    /// Scrapes the daemon and the machine, by the project's configuration with other addresses and a faster clock.
    pub(crate) async fn start(daemon: SocketAddr) -> Self {
        let (address, node, links) = (free(), free(), free());
        let home = tempfile::tempdir().unwrap();
        let config = fs::read_to_string(format!("{PACKAGING}/prometheus.yml")).unwrap();
        let config = config
            .replace("127.0.0.1:9464", &daemon.to_string())
            .replace("127.0.0.1:9465", &links.to_string())
            .replace("127.0.0.1:9100", &node.to_string())
            .replace("scrape_interval: 15s", "scrape_interval: 500ms\n  scrape_timeout: 400ms")
            .replace("evaluation_interval: 15s", "evaluation_interval: 500ms");
        for address in [daemon, node] {
            assert!(config.contains(&address.to_string()), "{config}");
        }
        fs::write(home.path().join("prometheus.yml"), config).unwrap();
        fs::create_dir(home.path().join("rules")).unwrap();
        fs::copy(format!("{PACKAGING}/rules/recording.yml"), home.path().join("rules/recording.yml")).unwrap();
        let alerts = scaled(&fs::read_to_string(format!("{PACKAGING}/rules/alerts.yml")).unwrap());
        fs::write(home.path().join("rules/alerts.yml"), alerts).unwrap();
        let file = home.path().join("prometheus.yml");
        let checked =
            Command::new("promtool").args(["check", "config"]).arg(&file).output().expect("promtool is installed");
        assert!(checked.status.success(), "{}", String::from_utf8_lossy(&checked.stderr));
        let log = fs::File::create(home.path().join("log")).unwrap();
        let mut prometheus = Command::new("prometheus");
        prometheus
            .arg(format!("--config.file={}", file.display()))
            .arg(format!("--storage.tsdb.path={}", home.path().join("data").display()))
            .arg(format!("--web.listen-address={address}"))
            .arg("--log.level=warn")
            .current_dir(home.path());
        let mut exporter = Command::new("prometheus-node-exporter");
        exporter.arg(format!("--web.listen-address={node}")).arg("--log.level=error");
        let children = [prometheus, exporter].map(|mut command| {
            let log = log.try_clone().unwrap();
            command.stdin(Stdio::null()).stdout(log.try_clone().unwrap()).stderr(log).spawn().unwrap()
        });
        Self { address, children: children.into(), _home: home, started: SystemTime::now() }
    }

    pub(crate) fn stop(&mut self) {
        for child in &mut self.children {
            let _ = child.kill();
            let _ = child.wait();
        }
    }

    /// `data` of an answer of the API.
    async fn api(&self, path: &str) -> Option<Value> {
        let mut stream = TcpStream::connect(self.address).await.ok()?;
        // Of this version an answer comes in one piece.
        let request = format!("GET /api/v1/{path} HTTP/1.0\r\nHost: prometheus\r\n\r\n");
        stream.write_all(request.as_bytes()).await.ok()?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.ok()?;
        let body = answer.split_once("\r\n\r\n")?.1;
        let answer: Value = serde_json::from_str(body).ok()?;
        assert_eq!(answer["status"], "success", "{path}: {answer}");
        Some(answer["data"].clone())
    }

    /// Values now.
    pub(crate) async fn query(&self, expr: &str) -> Vec<Found> {
        let data = self.api(&format!("query?query={}", utf8_percent_encode(expr, NON_ALPHANUMERIC))).await;
        to_found(&data.expect("Prometheus answers"))
    }

    /// Values since the start.
    pub(crate) async fn query_range(&self, expr: &str) -> Vec<Found> {
        let seconds = |time: SystemTime| time.duration_since(UNIX_EPOCH).unwrap().as_secs_f64();
        let (start, end) = (seconds(self.started), seconds(SystemTime::now()));
        let expr = utf8_percent_encode(expr, NON_ALPHANUMERIC);
        let data = self.api(&format!("query_range?query={expr}&start={start}&end={end}&step=1")).await;
        to_found(&data.expect("Prometheus answers"))
    }

    /// Waits until all that can be scraped here was.
    pub(crate) async fn until_scraped(&self) {
        self.until_true("count(up{job=~\"agent-portail|node\"} == 1) == 2").await;
    }

    /// Waits until an expression has a value.
    pub(crate) async fn until_true(&self, expr: &str) {
        let began = Instant::now();
        loop {
            let data = self.api(&format!("query?query={}", utf8_percent_encode(expr, NON_ALPHANUMERIC))).await;
            if data.is_some_and(|data| !to_found(&data).is_empty()) {
                return;
            }
            assert!(began.elapsed() < PATIENCE, "still not so: {expr}");
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
    }

    /// The alerts of ours that fire.
    pub(crate) async fn firing(&self) -> Vec<String> {
        let alerts = self.api("alerts").await.expect("Prometheus answers");
        let alerts = alerts["alerts"].as_array().unwrap().iter();
        let ours = alerts.filter(|alert| alert["state"] == "firing");
        let names = ours.map(|alert| alert["labels"]["alertname"].as_str().unwrap().to_owned());
        names.filter(|name| name.starts_with("AgentPortail")).collect()
    }

    /// Waits until an alert fires, or does not.
    pub(crate) async fn until_alert(&self, alert: &str, fires: bool) {
        let began = Instant::now();
        while self.firing().await.iter().any(|firing| firing == alert) != fires {
            assert!(began.elapsed() < PATIENCE, "{alert}: still not {fires}; these fire: {:?}", self.firing().await);
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    }
}

impl Drop for Prometheus {
    fn drop(&mut self) {
        self.stop();
    }
}

fn to_found(data: &Value) -> Vec<Found> {
    let number = |value: &Value| -> f64 { value.as_str().unwrap().parse().unwrap() };
    let pair = |value: &Value| (value[0].as_f64().unwrap(), number(&value[1]));
    if data["resultType"] == "scalar" {
        let (at, value) = pair(&data["result"]);
        return vec![Found { labels: String::new(), values: vec![(at, value)] }];
    }
    let series = data["result"].as_array().unwrap().iter();
    series
        .map(|series| {
            let labels = series["metric"].as_object().unwrap();
            let labels = labels.iter().map(|(name, value)| format!("{name}={}", value.as_str().unwrap()));
            let labels = labels.collect::<Vec<_>>().join(", ");
            let values: Vec<(f64, f64)> = match series["values"].as_array() {
                Some(values) => values.iter().map(pair).collect(),
                None => vec![pair(&series["value"])],
            };
            Found { labels, values }
        })
        .collect()
}

/// The alert rules with a clock that runs sixty times as fast: minutes become seconds, and a threshold of 300 s is one of 5 s.
fn scaled(rules: &str) -> String {
    let mut scaled = String::new();
    for line in rules.lines() {
        let is_annotation =
            ["summary:", "description:", "runbook:"].iter().any(|key| line.trim_start().starts_with(key));
        if is_annotation || line.trim_start().starts_with('#') {
            scaled.push_str(line);
        } else {
            let line = line.replace("oldest_pending_seconds > 300", "oldest_pending_seconds > 5");
            let mut rest = line.as_str();
            // A number before `m` or `h`, as in `for: 2m` and `[1h]`.
            while let Some(at) = rest.find(|c: char| c.is_ascii_digit()) {
                let (before, tail) = rest.split_at(at);
                let digits = tail.find(|c: char| !c.is_ascii_digit()).unwrap_or(tail.len());
                let (number, after) = tail.split_at(digits);
                scaled.push_str(before);
                let is_duration = before.ends_with("for: ") || before.ends_with('[');
                match (after.chars().next(), is_duration) {
                    (Some('m'), true) => scaled.push_str(&format!("{number}s")),
                    (Some('h'), true) => scaled.push_str(&format!("{number}m")),
                    _ => scaled.push_str(number),
                }
                rest = if is_duration && after.starts_with(['m', 'h']) { &after[1..] } else { after };
            }
            scaled.push_str(rest);
        }
        scaled.push('\n');
    }
    assert!(scaled.contains("for: 2s") && scaled.contains("[1m]") && scaled.contains("[5s]"), "{scaled}");
    scaled
}

/// What promtool says of what is served: it must find nothing to complain about.
pub(crate) fn lint(metrics: &str) {
    let mut promtool = Command::new("promtool");
    promtool.args(["check", "metrics"]).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = promtool.spawn().expect("promtool is installed");
    child.stdin.take().unwrap().write_all(metrics.as_bytes()).unwrap();
    let output = child.wait_with_output().unwrap();
    let said = format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success() && said.is_empty(), "{said}");
}
