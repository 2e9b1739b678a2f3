use super::*;

fn runs() -> Vec<Sample> {
    let run = |name: &str, start: i64, status: &str, key1: f64, param: &str| {
        let sample = Sample::new(name).with("start_time", start).with("status", status.to_owned());
        sample.metric("key1", key1).param("my_param", param)
    };
    vec![
        run("9", 0, "FAILED", 121.0, "A"),
        run("8", 1, "FINISHED", 123.0, "A").tag("tag1", "C"),
        run("7", 1, "FAILED", 125.0, "B").tag("tag1", "D"),
    ]
}

#[test]
fn runs_are_sorted_as_mlflow_sorts_them() {
    let cases: [(&[&str], [&str; 3]); 14] = [
        (&[], ["7", "8", "9"]),
        (&["tags.noSuchTag"], ["7", "8", "9"]),
        (&["attributes.status"], ["7", "9", "8"]),
        (&["attributes.start_time"], ["9", "7", "8"]),
        (&["Created DESC"], ["7", "8", "9"]),
        (&["metrics.key1 asc"], ["9", "8", "7"]),
        (&["metrics.\"key1\"  desc"], ["7", "8", "9"]),
        (&["params.my_param"], ["8", "9", "7"]),
        (&["params.my_param aSc", "attributes.status  ASC"], ["9", "8", "7"]),
        (&["params.my_param", "attributes.status DESC"], ["8", "9", "7"]),
        (&["params.my_param DESC", "attributes.status   DESC"], ["7", "8", "9"]),
        (&["params.`my_param` DESC", "attributes.status DESC"], ["7", "8", "9"]),
        (&["tags.tag1"], ["8", "7", "9"]),
        (&["tags.tag1    DESC"], ["7", "8", "9"]),
    ];
    for (order, expected) in cases {
        assert_eq!(sorted(Surface::Runs, order, &runs()), expected, "{order:?}");
    }
}

#[test]
fn nan_and_absent_come_last_in_both_directions() {
    let sample = |name: &str| match name.parse() {
        Ok(value) => Sample::new(name).metric("x", value),
        Err(_) => Sample::new(name),
    };
    let samples = ["none", "nan", "inf", "-inf", "-1000", "0", "1000"].map(sample);
    let sorted = |order| sorted(Surface::Runs, &[order], &samples);
    assert_eq!(sorted("metrics.x asc"), ["-inf", "-1000", "0", "1000", "inf", "nan", "none"]);
    assert_eq!(sorted("metrics.x desc"), ["inf", "1000", "0", "-1000", "-inf", "nan", "none"]);
}

#[test]
fn spaces_in_names_need_quotes() {
    let samples =
        [Sample::new("a").metric("Mean Square Error", 1.0), Sample::new("b").metric("Mean Square Error", 2.0)];
    let sorted = |order| sorted(Surface::Runs, &[order], &samples);
    assert_eq!(sorted("metrics.`Mean Square Error`"), ["a", "b"]);
    assert_eq!(sorted("metrics.`Mean Square Error` DESC"), ["b", "a"]);
    assert_eq!(sorted("`metrics.Mean Square Error` DESC"), ["b", "a"]);
}

#[test]
fn refusals_are_in_mlflow_s_words() {
    let refusal = |surface, order: &[&str]| Order::parse(surface, order).unwrap_err().message;
    for (order, expected) in [
        ("m.acc", "Invalid entity type 'm'"),
        ("acc", "Invalid attribute key 'acc'"),
        ("`metrics.A", "Invalid order_by clause '`metrics.A'. Could not be parsed."),
        ("`metrics.A`", "Invalid entity type '`metrics'"),
        ("attribute.experiment_id", "Invalid attribute key"),
        ("metrics.A != 1", "Invalid order_by clause"),
        ("params.my_param ", "Invalid order_by clause 'params.my_param '. Could not be parsed."),
        ("attribute.run_id ACS", "Invalid ordering key in order_by clause 'attribute.run_id ACS'."),
        ("metrics.a NULLS FIRST", "Invalid order_by clause"),
        ("params.x asc, params.y", "Invalid order_by clause"),
        ("run name", "Invalid ordering key"),
        ("dataset.name", "Invalid identifier type 'dataset'"),
        ("", "Invalid order_by clause ''. Could not be parsed."),
    ] {
        let message = refusal(Surface::Runs, &[order]);
        assert!(message.contains(expected), "{order}: {message}");
    }
    for (order, expected) in [
        ("creation_timestamp DESC", "Invalid order by key 'creation_timestamp' specified. Valid keys are '{"),
        ("last_updated_timestamp DESC blah", "Invalid order_by clause"),
        ("timestamp decs", "Invalid order_by clause"),
        ("name aCs", "Invalid ordering key"),
    ] {
        let message = refusal(Surface::RegisteredModels, &[order]);
        assert!(message.contains(expected), "{order}: {message}");
    }
    assert!(refusal(Surface::Runs, &["metrics.a", "metrics.a desc"]).contains("duplicate fields"));
    assert!(refusal(Surface::Runs, &["created", "start_time"]).contains("duplicate fields"));
    assert!(refusal(Surface::Experiments, &["tags.a"]).contains("Invalid order_by entity: tag"));
    assert!(refusal(Surface::Runs, &["metrics.a"; 101]).contains("more than 100 fields"));
}

#[test]
fn each_surface_breaks_ties_its_way() {
    let of = |name: &str, id: i64, created: i64| {
        Sample::new(name).with("name", name.to_owned()).with("experiment_id", id).with("creation_time", created)
    };
    let experiments = [of("a", 2, 5), of("b", 10, 5), of("c", 1, 7)];
    assert_eq!(sorted(Surface::Experiments, &[], &experiments), ["c", "a", "b"]);
    assert_eq!(sorted(Surface::Experiments, &["creation_time"], &experiments), ["b", "a", "c"]);
    assert_eq!(sorted(Surface::Experiments, &["experiment_id"], &experiments), ["c", "a", "b"]);
    let of = |name: &str, model: &str, version: i64, updated: i64| {
        let sample = Sample::new(name).with("name", model.to_owned()).with("version_number", version);
        sample.with("last_updated_timestamp", updated)
    };
    let versions = [of("a1", "a", 1, 9), of("a2", "a", 2, 9), of("b1", "b", 1, 10)];
    assert_eq!(sorted(Surface::ModelVersions, &[], &versions), ["b1", "a2", "a1"]);
    assert_eq!(sorted(Surface::ModelVersions, &["version_number ASC"], &versions), ["a1", "b1", "a2"]);
    assert_eq!(sorted(Surface::RegisteredModels, &["timestamp DESC"], &versions), ["b1", "a1", "a2"]);
}
