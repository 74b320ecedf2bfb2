//! The files for whoever watches the server: what they name is there.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use serde_json::Value;
use yaml_rust2::{Yaml, YamlLoader};

use crate::metrics::{scrape, with_metrics};
use crate::support::TestServer;

fn file(name: &str) -> String {
    let path: PathBuf = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../ops").join(name);
    std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// The metrics that an expression names.
fn metrics_of(expression: &str) -> BTreeSet<String> {
    let words = expression.split(|c: char| !c.is_ascii_alphanumeric() && c != '_');
    let is_metric = |word: &&str| word.starts_with("keyward_") || word.starts_with("process_");
    words.filter(is_metric).map(str::to_owned).collect()
}

/// The labels that an expression asks for: `area="me"` and the like.
fn labels_of(expression: &str) -> BTreeSet<String> {
    let selectors = expression.split('{').skip(1).filter_map(|rest| rest.split('}').next());
    let pairs = selectors.flat_map(|selector| selector.split(','));
    let names = pairs.filter_map(|pair| pair.split(['=', '!']).next());
    let in_selectors = names.map(|name| name.trim().to_owned());
    let groups = expression.split(" by (").skip(1).filter_map(|rest| rest.split(')').next());
    let in_groups = groups.flat_map(|group| group.split(',').map(|name| name.trim().to_owned()));
    in_selectors.chain(in_groups).filter(|name| !name.is_empty()).collect()
}

fn expressions(value: &Value, found: &mut Vec<String>) {
    match value {
        Value::Object(fields) => {
            for (name, value) in fields {
                match value {
                    Value::String(text) if name == "expr" => found.push(text.clone()),
                    Value::String(text) if name == "query" && text.contains("label_values") => {
                        found.push(text.clone());
                    }
                    _ => expressions(value, found),
                }
            }
        }
        Value::Array(values) => values.iter().for_each(|value| expressions(value, found)),
        _ => {}
    }
}

fn of_dashboard() -> Vec<String> {
    let board: Value = serde_json::from_str(&file("grafana-dashboard.json")).expect("it is JSON");
    let panels = board["panels"].as_array().expect("it has panels");
    for panel in panels {
        assert!(panel["title"].is_string() && panel["gridPos"]["w"].is_u64(), "{panel}");
        assert!(panel["targets"].as_array().is_some_and(|list| !list.is_empty()), "{panel}");
    }
    let ids: BTreeSet<u64> = panels.iter().filter_map(|panel| panel["id"].as_u64()).collect();
    assert_eq!(ids.len(), panels.len(), "each panel has a number of its own");
    let mut found = vec![];
    expressions(&board, &mut found);
    found
}

fn of_rules() -> Vec<String> {
    let all = YamlLoader::load_from_str(&file("alert-rules.yml")).expect("it is YAML");
    let [all] = all.as_slice() else { panic!("it is one document") };
    let mut found = vec![];
    let mut names = BTreeSet::new();
    for group in all["groups"].as_vec().expect("it has groups") {
        for rule in group["rules"].as_vec().expect("a group has rules") {
            let name = rule["alert"].as_str().expect("a rule has a name");
            assert!(names.insert(name.to_owned()), "{name} stands twice");
            let severity = rule["labels"]["severity"].as_str().unwrap_or_default();
            assert!(["page", "ticket"].contains(&severity), "{name}: {severity}");
            for part in ["summary", "description"] {
                let text = &rule["annotations"][part];
                assert!(matches!(text, Yaml::String(text) if text.len() > 20), "{name}: {part}");
            }
            found.push(rule["expr"].as_str().expect("a rule has an expression").to_owned());
        }
    }
    assert!(names.len() >= 10);
    found
}

/// `promtool` judges whether the cases are kept (`make alert-rules`); this one, that none is missing.
#[test]
fn each_alert_rule_has_a_case_in_which_it_fires() {
    let rules = file("alert-rules.yml");
    let cases = YamlLoader::load_from_str(&file("alert-rules.test.yml")).expect("it is YAML");
    let cases = cases[0]["tests"].as_vec().expect("it has tests");
    let expected = cases.iter().flat_map(|case| case["alert_rule_test"].as_vec().expect("a list"));
    let fired: BTreeSet<&str> = expected
        .filter(|case| case["exp_alerts"].as_vec().is_some_and(|alerts| !alerts.is_empty()))
        .filter_map(|case| case["alertname"].as_str())
        .collect();
    let named: BTreeSet<&str> =
        rules.lines().filter_map(|line| line.trim().strip_prefix("- alert: ")).collect();
    assert!(named.len() >= 10, "{named:?}");
    assert_eq!(fired, named);
}

#[tokio::test]
async fn every_metric_that_the_dashboard_and_the_alert_rules_name_is_scraped() {
    let server = TestServer::start_with(|settings| {
        with_metrics(settings);
        settings.tls_self_signed = true;
    })
    .await;
    // Over TLS nobody comes without trusting its certificate; a refused one is counted as well.
    let of_tls = scrape(&server).await.text;
    let server = TestServer::start_with(with_metrics).await;
    let key = server.key().await;
    server.get("/v3/me").key(&key).send().await;
    server.get("/v3/me").send().await;
    let of_plain = scrape(&server).await.text;
    let is_there = |name: &str| {
        let kind = |text: &str, name: &str, kind: &str| {
            text.lines().any(|line| line == format!("# TYPE {name} {kind}"))
        };
        [&of_tls, &of_plain].iter().any(|text| {
            let of_histogram = ["_bucket", "_sum", "_count"].iter().any(|part| {
                name.strip_suffix(part).is_some_and(|base| kind(text, base, "histogram"))
            });
            of_histogram || kind(text, name, "counter") || kind(text, name, "gauge")
        })
    };
    let has_label = |label: &str| {
        let of_prometheus = ["instance", "job"].contains(&label);
        of_prometheus || of_plain.contains(&format!("{label}=\""))
    };
    let (dashboard, rules) = (of_dashboard(), of_rules());
    assert!(dashboard.len() > 20, "{dashboard:?}");
    let mut named = BTreeSet::new();
    for expression in dashboard.iter().chain(&rules) {
        let metrics = metrics_of(expression);
        assert!(!metrics.is_empty() || expression.contains("up{job="), "{expression} names none");
        for metric in metrics {
            assert!(is_there(&metric), "{expression}: {metric} is never scraped");
            named.insert(metric);
        }
        for label in labels_of(expression) {
            assert!(has_label(&label), "{expression}: {label} is no label");
        }
    }
    // And nothing is told that nobody looks at.
    for line in of_plain.lines().chain(of_tls.lines()) {
        let Some(name) = line.strip_prefix("# TYPE ").and_then(|rest| rest.split(' ').next())
        else {
            continue;
        };
        assert!(named.iter().any(|named| named.starts_with(name)), "no panel or rule has {name}");
    }
}
